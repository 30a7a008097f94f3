import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { addGrantCommands } from './grant-command.ts';
import { addLabCommand } from './lab-command.ts';

/**
 * The command line. Each command's own modules are loaded when it runs, so that help is quick.
 * `done` takes the exit code of the command that ran.
 */
export function createProgram(done: (code: number) => void): Command {
  const program = new Command('ktrace')
    .description("See what happens to a pod's packets: which interface, which translation, which drop, by pod and Service name.")
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help of a command')
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: false, helpWidth: 110 })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'ktrace: ')) })
    .exitOverride();
  program.addHelpText(
    'after',
    '\nExit codes: 0 ok, 1 failure, 2 usage, 3 no agent reachable, 4 not authorized, 5 incomplete with --strict, 130 interrupted.',
  );
  addFollow(program, done);
  addGrantCommands(program, done);
  addAgent(program, done);
  addGate(program, done);
  addHealthz(program, done);
  addLabCommand(program, done);
  program
    .command('version')
    .description('print the version')
    .action(() => {
      process.stdout.write(`${readVersion()}\n`);
    });
  return program;
}

function addFollow(program: Command, done: (code: number) => void): void {
  program
    .command('follow')
    .description('show packets of pods as they go: their hops, translations and drops')
    .argument('[words...]', 'targets as KIND/NAME (pod, deploy, sts, ds, job, svc, node, ns); without any, the namespace')
    .option('-l, --selector <selector>', 'pods with these labels (again: or these)', collect)
    .option('-n, --namespace <namespace>', "the targets' namespace, instead of the context's (again: and this)", collect)
    .option('-A, --all-namespaces', 'all namespaces')
    .option('--context <context>', 'the kubeconfig context')
    .option('--kubeconfig <file>', 'the kubeconfig, instead of KUBECONFIG or ~/.kube/config')
    .addOption(new Option('-o, --output <format>', 'what is printed').choices(['text', 'wide', 'json']).default('text'))
    .option('--packets', 'every packet, not only those that say something new')
    .option('-c, --count <packets>', 'leave after so many packets')
    .option('--for <duration>', 'leave after so long: 500ms, 10s, 2m, 1h')
    .option('--strict', 'exit with 5 when something was lost or a node was missing')
    .option('--color', 'colours, also where stdout is no terminal')
    .option('--no-color', 'no colours')
    .option('--ktrace-namespace <namespace>', 'where ktrace is installed', process.env['KTRACE_NAMESPACE'] || 'ktrace')
    .addHelpText('after', FOLLOW_EXAMPLES)
    .action(async (words: string[], flags: Record<string, unknown>) => {
      const { followCommand } = await import('./follow-command.ts');
      done(await followCommand(words, flags));
    });
}

const FOLLOW_EXAMPLES = `
Examples:
  ktrace follow                                  all pods of the context's namespace
  ktrace follow pod/frontend-88237173-jdfgg      one pod, on all nodes that its packets cross
  ktrace follow svc/redis-master --for 30s       a Service, before and after translation
  ktrace follow -l app=redis -o wide             pods by label, with addresses, chains and each hop's time
  ktrace follow node/host3 -o json | jq .drop    one JSON object a line
  ktrace follow -A --packets -c 100              the next hundred packets of all pods

A line: time, nodes, initiator -> peer (a reply is drawn <-), protocol, translation (=> to, <= from, as whom), interfaces, fate.`;

function addAgent(program: Command, done: (code: number) => void): void {
  program
    .command('agent')
    .description('the process that a DaemonSet runs on every node (root); each flag also as KTRACE_…')
    .option('--node <name>', "this node's name in Kubernetes (KTRACE_NODE; default: the host's name)")
    .option('--socket <path>', 'the unix socket to serve')
    .option('--kubeconfig <file>', "instead of the pod's service account")
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent')
    .option('--ring-bytes <bytes>', "size of the kernel's ring buffer, a power of two")
    .option('--attach <how>', 'auto, tcx or clsact')
    .option('--object <file>', 'the BPF object to load')
    .option('--max-clients <count>', 'connections served at the same time')
    .option('--authorization <how>', 'on; off lets whoever reaches the socket see everything, for debugging')
    .addOption(new Option('--clock-skew-ms <ms>', "added to this node's clock in all that is told, for tests").hideHelp())
    .action(async (flags: Record<string, string | undefined>) => {
      const { agentCommand } = await import('./agent-command.ts');
      done(await agentCommand(flags));
    });
}

function addGate(program: Command, done: (code: number) => void): void {
  program
    .command('gate')
    .description('the unprivileged door to an agent, which clients and Prometheus reach; each flag also as KTRACE_…')
    .option('--socket <path>', "the agent's unix socket")
    .option('--port <port>', 'TCP port on loopback for port-forwards')
    .option('--metrics-port <port>', 'TCP port for Prometheus and probes')
    .option('--max-connections <count>', 'websockets relayed at the same time')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent')
    .action(async (flags: Record<string, string | undefined>) => {
      const { gateCommand } = await import('./gate-command.ts');
      done(await gateCommand(flags));
    });
}

function addHealthz(program: Command, done: (code: number) => void): void {
  program
    .command('healthz')
    .description('ask the agent of this node whether it lives: exit code 0 or 1; for probes')
    .option('--socket <path>', "the agent's unix socket (KTRACE_SOCKET)")
    .option('--ready', 'ask whether it is ready instead')
    .action(async (flags: Record<string, string | boolean | undefined>) => {
      const { healthzCommand } = await import('./healthz-command.ts');
      done(await healthzCommand(flags));
    });
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

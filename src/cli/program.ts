import { type Command, InvalidArgumentError, Option } from 'commander';
import { addFilterCommands } from './commands/filter-commands.ts';
import { addGrantCommands } from './commands/grant-command.ts';
import { addInstallCommands } from './commands/install-commands.ts';
import { addLabCommand } from './commands/lab-command.ts';
import { addCompletionCommands } from './completion-command.ts';
import { addClusterOptions } from './options/cluster-options.ts';
import { CliCommand } from './options/command.ts';
import { addTextOptions } from './options/text-options.ts';
import { readVersion } from './options/version.ts';

/**
 * The command line. Each command's own modules are loaded when it runs, so that help is quick.
 * `done` takes the exit code of the command that ran; `running` the command that runs, or whose words are not understood.
 */
export function createProgram(done: (code: number) => void, running: (command: Command) => void = () => undefined): Command {
  const program = new CliCommand(process.env['KTRACE_CALLED'] || 'ktrace', running)
    .enablePositionalOptions()
    .description("See what happens to a pod's packets: which interface, which translation, which drop, by pod and Service name.")
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .showSuggestionAfterError()
    .configureHelp({
      sortSubcommands: false,
      helpWidth: 110,
      subcommandTerm: (command) => `${command.name()} ${command.usage()}`.trim(),
    })
    .exitOverride()
    .hook('preAction', (_, command) => running(command));
  program.addHelpText('after', ENVIRONMENT);
  program.commandsGroup('Packets:');
  addFollow(program, done);
  addDump(program, done);
  addFilterCommands(program, done);
  program.commandsGroup('A cluster with ktrace, and who may follow in it:');
  addInstallCommands(program, done);
  addGrantCommands(program, done);
  program.commandsGroup('Without a cluster:');
  addLabCommand(program, done);
  program.commandsGroup('Run by Kubernetes:');
  addAgent(program, done);
  addGate(program, done);
  addHealthz(program, done);
  program.commandsGroup('Others:');
  addCompletionCommands(program, done);
  program.addHelpCommand(
    program
      .createCommand('help')
      .argument('[command]')
      .helpOption(false)
      .description('show help of a command')
      .helpGroup('Others:'),
  );
  program
    .command('version')
    .description('print the version')
    .action(() => {
      process.stdout.write(`${readVersion()}\n`);
    });
  return program;
}

const ENVIRONMENT = `
Environment:
  KUBECONFIG         the kubeconfig; also several, as kubectl takes them
  KTRACE_NAMESPACE   where ktrace is installed; default: ktrace
  KTRACE_LAB_DIR     where labs keep their files
  KTRACE_DEBUG=1     errors tell their place in the code
  NO_COLOR           no colours

Exit codes: 0 ok, 1 failure, 2 usage, 3 no agent reachable, 4 not authorized, 5 incomplete with --strict, 130 interrupted.`;

function addFollow(program: Command, done: (code: number) => void): void {
  const follow = program
    .command('follow')
    .description('show packets of pods as they go: their hops, translations and drops')
    .usage('[options] [KIND/NAME ...] [FILTER]')
    .argument(
      '[words...]',
      'targets as KIND/NAME (pod, deploy, rs, sts, ds, job, cj, svc, node, ns; without any, the namespace), then a filter',
    )
    .option('-l, --selector <selector>', 'pods with these labels (again: or these)', collect)
    .option('-n, --namespace <namespace>', "the targets' namespace, instead of the context's (again: and this)", collect)
    .option('-A, --all-namespaces', 'all namespaces')
    .addOption(followOutput())
    .option('-F, --filter-file <file>', 'take the filter from a file, and again whenever the file changes')
    .option('--packets', 'every packet, not only those that say something new')
    .option('--drops', 'only what is dropped; a filter narrows it further')
    .option(
      '-s, --snaplen <bytes>',
      'capture so many bytes from the IP header on, up to 1500 (default: the headers; needs its own grant)',
    )
    .option('-c, --count <packets>', 'leave after so many packets')
    .option('--for <duration>', 'leave after so long: 500ms, 10s, 2m, 1h')
    .option('--local', 'by an agent of its own on this node, for as long as it runs (root; no DaemonSet is needed)')
    .option('--strict', 'exit with 5 when something was lost or a node was missing')
    .option('--ready-file <file>', 'is there as long as it follows: from when every agent that answers does, until it ends')
    .addHelpText('after', FOLLOW_EXAMPLES)
    .action(async (words: string[], flags: Record<string, unknown>) => {
      const { followCommand } = await import('./commands/follow-command.ts');
      done(await followCommand(words, flags));
    });
  addTextOptions(follow);
  addClusterOptions(follow);
}

/** A page sums up what is over: whoever asks a follow for one is told where to get it. */
function followOutput(): Option {
  const option = new Option('-o, --output <format>', 'what is printed')
    .choices(['text', 'wide', 'json', 'pcapng'])
    .default('text');
  const choose = option.parseArg;
  return option.argParser((format, before: string) => {
    if (format !== 'html') return choose?.(format, before) ?? format;
    throw new InvalidArgumentError(
      'A page sums up records that are all there, and a follow has no end: use ktrace dump … -o html, or ktrace read FILE -o html.',
    );
  });
}

const FOLLOW_EXAMPLES = `
Examples:
  ktrace follow                                  all pods of the context's namespace
  ktrace follow pod/frontend-88237173-jdfgg      one pod, on all nodes that its packets cross
  ktrace follow svc/redis-master --for 30s       a Service, before and after translation
  ktrace follow -l app=redis -o wide             pods by label, with addresses, chains and each hop's time
  ktrace follow node/host3 -o json | jq .drop    one JSON object a line
  ktrace follow deploy/frontend tcp port 6379 and svc redis-master
  ktrace follow -A --drops not reason NO_SOCKET
  ktrace follow ns/shop -F now.filter            the filter is changed by writing the file
  ktrace follow deploy/dns --packets -s 64 'udp[20:2] == 0x0377'   a filter on payload, with the right to see it
  ktrace follow -A --packets -c 100              the next hundred packets of all pods
  ktrace follow pod/web -o pcapng | wireshark -k -i -     live, with names, translations and drops
  sudo -E ktrace follow --local pod/web          on this node alone, where ktrace is not installed

A filter is tcpdump's language, and pod, ns, svc, node, label, iface, dropped, translated, reason, outer, inner.
A line: time, nodes, initiator -> peer (a reply is drawn <-, a conversation that was counted <>), protocol, translation (=> to, <= from,
as whom), fate; ✓ arrived. Interfaces are shown where a packet dies, and of every packet in a pipe, with --no-trunc and with -o wide.
docs/output.md explains each kind of line.`;

function addDump(program: Command, done: (code: number) => void): void {
  const dump = program
    .command('dump')
    .description('show what the agents recorded, also of pods that are gone')
    .usage('[options] [KIND/NAME ...] [FILTER]')
    .argument('[words...]', 'targets as KIND/NAME, as follow takes them, or incident/ID; then a filter')
    .option('--incidents', "list what went wrong with the targets' pods and is kept; with -o json as JSON")
    .option('--services', "list the targets' Services as they were, with addresses, ports and endpoints; with -o json as JSON")
    .option('--drops', 'only what was dropped; a filter narrows it further')
    .option('--since <when>', 'from so long ago, 20m, or from a time, 2026-11-22T03:12:00Z', '15m')
    .option('--until <when>', 'to so long ago, or to a time; default: now')
    .option('-w, --write <file>', 'write a dump that ktrace read takes; prints only with -o')
    .option('-l, --selector <selector>', 'pods that had these labels (again: or these)', collect)
    .option('-n, --namespace <namespace>', "the targets' namespace, instead of the context's (again: and this)", collect)
    .option('-A, --all-namespaces', 'all namespaces')
    .addOption(
      new Option('-o, --output <format>', 'what is printed').choices(['text', 'wide', 'json', 'pcapng', 'html']).default('text'),
    )
    .option('--strict', 'exit with 5 when something is missing: a node, a time, records that were lost')
    .addHelpText('after', DUMP_EXAMPLES)
    .action(async (words: string[], flags: Record<string, unknown>, command: Command) => {
      const { dumpCommand } = await import('./commands/dump-command.ts');
      done(await dumpCommand(words, flags, (name) => command.getOptionValueSource(name) === 'cli'));
    });
  addTextOptions(dump);
  addClusterOptions(dump);
}

const DUMP_EXAMPLES = `
Examples:
  ktrace dump pod/web-7d4b9c-x2x8p --since 20m       what a pod did, though it is gone
  ktrace dump ns/shop dropped --since 1h
  ktrace dump -A --since 2026-11-22T03:10:00Z --until 2026-11-22T03:15:00Z -w night.ktrace
  ktrace read night.ktrace tcp port 6379             later, elsewhere
  ktrace dump pod/web-7d4b9c-x2x8p -o pcapng | wireshark -k -i -
  ktrace dump pod/web-7d4b9c-x2x8p -o html > web.html   one page for a ticket: timeline, flows, drops, drawn ways
  ktrace dump --incidents -A                         pods that crashed, whose minutes are kept
  ktrace dump incident/3f9a1c2e -n shop              one of them
  ktrace dump --services svc/web --since 1h          which endpoints a Service had, though it is gone`;

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
    .option('--probes <how>', 'on the kernel’s own functions: auto, fentry, kprobe or none')
    .option(
      '--rcu-expedited <when>',
      'expedited RCU grace periods while programs are attached: auto (not with isolated CPUs), on or off',
    )
    .option('--proxy-mode <mode>', 'how kube-proxy writes its rules: auto (as it says itself), iptables, nftables, ipvs or none')
    .option('--object <file>', 'the BPF object to load')
    .option('--flow-entries <count>', "entries of the kernel's flow table; default: 65536")
    .option('--max-clients <count>', 'connections served at the same time')
    .addOption(new Option('--with-parent', 'end with the standard input').hideHelp())
    .option('--authorization <how>', 'on; off lets whoever reaches the socket see everything, for debugging')
    .option('--record <folder>', 'record what all pods of the node do, for ktrace dump; default: nothing is recorded')
    .option('--record-bytes <bytes>', 'what recordings may take on disk; default: 536870912')
    .option('--record-hours <hours>', 'how long recordings are kept; default: 24')
    .option(
      '--otlp-endpoint <url>',
      'an OpenTelemetry collector to export flows and drops to, e.g. http://host:4318; default: none',
    )
    .option('--export-target <words>', "what is exported, as ktrace follow names it; default: this node's pods")
    .option('--export-events <list>', 'of flow-open, flow-update, flow-close, drop, lost, notice')
    .addOption(new Option('--clock-skew-ms <ms>', "added to this node's clock in all that is told, for tests").hideHelp())
    .addOption(new Option('--recheck-ms <ms>', 'how often it is asked again whether who streams still may, for tests').hideHelp())
    .addOption(new Option('--queue-events <count>', 'kept for a client that does not read, for tests').hideHelp())
    .addOption(new Option('--incident-after-ms <ms>', 'how long after a crash is kept, for tests').hideHelp())
    .action(async (flags: Record<string, string | undefined>) => {
      const { agentCommand } = await import('./commands/agent-command.ts');
      done(await agentCommand(flags));
    });
}

function addGate(program: Command, done: (code: number) => void): void {
  program
    .command('gate')
    .description('the unprivileged door to an agent, which clients and Prometheus reach; each flag also as KTRACE_…')
    .option('--socket <path>', "the agent's unix socket")
    .option('--port <port>', 'TCP port on loopback for port-forwards')
    .option('--metrics-port <port>', 'TCP port for Prometheus')
    .option('--max-connections <count>', 'websockets relayed at the same time')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent')
    .action(async (flags: Record<string, string | undefined>) => {
      const { gateCommand } = await import('./commands/gate-command.ts');
      done(await gateCommand(flags));
    });
}

function addHealthz(program: Command, done: (code: number) => void): void {
  program
    .command('healthz')
    .description('ask the agent of this node whether it lives: exit code 0 or 1; for probes')
    .option('--gate', 'ask the gate of this pod instead')
    .option('--port <port>', "the gate's port on loopback (KTRACE_GATE_PORT)")
    .option('--socket <path>', "the agent's unix socket (KTRACE_SOCKET)")
    .option('--ready', 'ask whether the agent is ready instead')
    .action(async (flags: Record<string, string | boolean | undefined>) => {
      const { healthzCommand } = await import('./commands/healthz-command.ts');
      done(await healthzCommand(flags));
    });
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

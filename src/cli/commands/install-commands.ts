import { type Command, Option } from 'commander';
import { addClusterOptions } from '../options/cluster-options.ts';
import { parseDuration } from '../options/duration.ts';

const INSTALL_EXAMPLES = `
Examples:
  ktrace install --image registry.example/ktrace:0.1.0     make it, wait until all nodes are ready
  ktrace install --image REF --least-privilege             without privileged containers
  ktrace install --image REF --dry-run                     what would be made or changed, as the API server sees it
  ktrace install --image REF --timeout 10m                 many nodes, a slow registry

It is a server-side apply: doing it again changes what differs, and what kubectl apply made is taken over.`;

/** `ktrace install`, `uninstall` and `status`: ktrace in a cluster, without kubectl. */
export function addInstallCommands(program: Command, done: (code: number) => void): void {
  addClusterOptions(program.command('install'))
    .description('put agents and gates on all nodes of a cluster')
    .option('--image <reference>', 'an image that the nodes can pull; without it the one that the manifests name')
    .option('--least-privilege', 'agents with four capabilities instead of privileged ones')
    .option('--no-wait', 'do not wait until all pods are ready')
    .option('--timeout <duration>', 'how long to wait: 30s, 5m', '3m')
    .option('--dry-run', 'let the API server check everything, change nothing')
    .addHelpText('after', INSTALL_EXAMPLES)
    .action(async (flags: Record<string, unknown>) => {
      const { installCommand } = await import('./install-command.ts');
      done(await installCommand('install', { ...flags, timeoutMs: parseDuration('--timeout', flags['timeout'] as string) }));
    });
  addClusterOptions(program.command('uninstall'))
    .description('take away what install made, and nothing else')
    .option('--revoke-grants', 'and what ktrace grant made, in all namespaces')
    .option('--no-wait', 'do not wait until its pods have ended')
    .option('--timeout <duration>', 'how long to wait: 30s, 5m', '2m')
    .option('--dry-run', 'say what would be deleted, change nothing')
    .action(async (flags: Record<string, unknown>) => {
      const { installCommand } = await import('./install-command.ts');
      done(await installCommand('uninstall', { ...flags, timeoutMs: parseDuration('--timeout', flags['timeout'] as string) }));
    });
  addClusterOptions(program.command('doctor'))
    .description('what each node’s kernel allows, what is attached, what cannot be told; exits with 1 where nothing can')
    .option('--local', 'this machine, without an agent (root)')
    .addOption(new Option('-o, --output <format>', 'what is printed').choices(['text', 'json']).default('text'))
    .action(async (flags: Record<string, unknown>) => {
      const { doctorCommand } = await import('./doctor-command.ts');
      done(await doctorCommand(flags));
    });
  addClusterOptions(program.command('status'))
    .description('agent and gate of every node, and why one is not ready; exits with 1 when one is not')
    .addOption(new Option('-o, --output <format>', 'what is printed').choices(['text', 'json']).default('text'))
    .action(async (flags: Record<string, unknown>) => {
      const { installCommand } = await import('./install-command.ts');
      done(await installCommand('status', flags));
    });
}

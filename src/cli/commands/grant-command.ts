import type { Command } from 'commander';
import type { GrantOptions } from '../../client/grant.ts';
import { findStandingLab } from '../../lab/machine/state.ts';
import { addClusterOptions, clusterOptions } from '../options/cluster-options.ts';

/** Their `--user` is who gets the right. */
const GRANTEE = { hasUser: false };

/** `ktrace grant` and `ktrace revoke`: who may see what. */
export function addGrantCommands(program: Command, done: (code: number) => void): void {
  for (const [name, description] of [
    ['grant', 'let somebody see the packets of a namespace, or of all'],
    ['revoke', 'take back what a grant gave'],
  ] as const) {
    const command = program
      .command(name)
      .description(description)
      .argument('[namespace]', 'the namespace to be seen')
      .option('--user <name>', 'a user, as the API server knows them')
      .option('--group <name>', 'a group')
      .option('--admin', 'everything: all namespaces, nodes, both ends of every packet')
      .option('--payloads', name === 'grant' ? 'what is behind the headers, too (follow --snaplen)' : 'the payloads alone')
      .option('--dry-run', 'print the objects as YAML, change nothing')
      .action(async (namespace: string | undefined, flags: Record<string, unknown>) => {
        const { runGrant, runRevoke } = await import('../../client/grant.ts');
        const run = name === 'grant' ? runGrant : runRevoke;
        const { stdout, stderr } = process;
        done(await run(optionsOf(namespace, flags), { stdout, stderr, findLab: () => findStandingLab() }));
      });
    addClusterOptions(command, GRANTEE);
  }
}

function optionsOf(namespace: string | undefined, flags: Record<string, unknown>): GrantOptions {
  const { ktraceNamespace, ...kube } = clusterOptions(flags, GRANTEE);
  const text = (name: string): string | undefined => flags[name] as string | undefined;
  return {
    namespace,
    admin: flags['admin'] === true,
    payloads: flags['payloads'] === true,
    user: text('user'),
    group: text('group'),
    dryRun: flags['dryRun'] === true,
    ktraceNamespace,
    kube,
  };
}

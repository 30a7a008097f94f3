import type { Command } from '@commander-js/extra-typings';
import type { GrantOptions } from '../../client/grant.ts';
import { addGranteeOptions, type ClusterFlags, clusterOptions } from '../options/cluster-options.ts';
import type { Done } from '../options/command.ts';

/** `ktrace grant` and `ktrace revoke`: who may see what. */
export function addGrants(program: Command, done: Done): void {
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
      .option('--dry-run', 'print the objects as YAML, change nothing');
    addGranteeOptions(command).action(async (namespace, flags) => {
      const { runGrant, runRevoke } = await import('../../client/grant.ts');
      const { findStandingLab } = await import('../../lab/machine/state.ts');
      const { stdout, stderr } = process;
      const io = { stdout, stderr, findLab: () => findStandingLab() };
      done(await (name === 'grant' ? runGrant : runRevoke)(optionsOf(namespace, flags), io));
    });
  }
}

interface GrantFlags extends ClusterFlags {
  group?: string;
  admin?: true;
  payloads?: true;
  dryRun?: true;
}

/** Their `--user` is who gets the right. */
function optionsOf(namespace: string | undefined, { user, group, admin, payloads, dryRun, ...flags }: GrantFlags): GrantOptions {
  const { ktraceNamespace, ...kube } = clusterOptions(flags);
  return {
    namespace,
    admin: admin === true,
    payloads: payloads === true,
    user,
    group,
    dryRun: dryRun === true,
    ktraceNamespace,
    kube,
  };
}

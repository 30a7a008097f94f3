import type { Command } from '@commander-js/extra-typings';
import { addClusterOptions } from '../options/cluster-options.ts';
import type { Done } from '../options/command.ts';
import { parseDuration } from '../options/duration.ts';
import { installedIn } from '../options/install-options.ts';
import { surroundings } from '../options/surroundings.ts';

/** `ktrace uninstall`. */
export function addUninstall(program: Command, done: Done): void {
  const uninstall = program
    .command('uninstall')
    .description('take away what install made, and nothing else')
    .option('--all', 'and what ktrace grant made, in all namespaces')
    .option('--no-wait', 'do not wait until its pods have ended')
    .option('--timeout <duration>', 'how long to wait: 30s, 5m', '2m')
    .option('--dry-run', 'say what would be deleted, change nothing');
  addClusterOptions(uninstall).action(async (flags) => {
    const how = { wait: flags.wait, timeoutMs: parseDuration('--timeout', flags.timeout), dryRun: flags.dryRun === true };
    const options = { ...installedIn(flags), ...how, revokeGrants: flags.all === true };
    const { runUninstall } = await import('../../client/install/uninstall.ts');
    done(await runUninstall(options, await surroundings()));
  });
}

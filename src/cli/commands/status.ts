import { type Command, Option } from '@commander-js/extra-typings';
import { addClusterOptions } from '../options/cluster-options.ts';
import type { Done } from '../options/command.ts';
import { installedIn } from '../options/install-options.ts';
import { surroundings } from '../options/surroundings.ts';

/** `ktrace status`. */
export function addStatus(program: Command, done: Done): void {
  const status = program
    .command('status')
    .description('agent and gate of every node, and why one is not ready; exits with 1 when one is not')
    .addOption(new Option('-o, --output <format>', 'what is printed').choices(['text', 'json']).default('text'));
  addClusterOptions(status).action(async (flags) => {
    const options = { ...installedIn(flags), output: flags.output };
    const { runStatus } = await import('../../client/install/status.ts');
    done(await runStatus(options, await surroundings()));
  });
}

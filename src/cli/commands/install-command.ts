import { type InstallIo, runInstall } from '../../client/install/install.ts';
import { runStatus } from '../../client/install/status.ts';
import { runUninstall } from '../../client/install/uninstall.ts';
import { findStandingLab } from '../../lab/machine/state.ts';
import { badArgument } from '../../util/errors.ts';
import { clusterOptions } from '../options/cluster-options.ts';
import { interruption } from '../options/interruption.ts';

/** Characters that a reference to an image has; the registry says the rest. */
const IMAGE = /^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,511}$/;

/** `ktrace install`, `uninstall`, `status`: the flags as the parser gives them; the exit code. */
export async function installCommand(name: 'install' | 'uninstall' | 'status', flags: Record<string, unknown>): Promise<number> {
  const text = (flag: string): string | undefined => flags[flag] as string | undefined;
  const image = text('image');
  if (image !== undefined && !IMAGE.test(image))
    throw badArgument('--image', 'a reference such as registry.example/ktrace:0.1.0', image);
  const cluster = clusterOptions(flags);
  const { ktraceNamespace } = cluster;
  // 63 characters with what the agents' namespace has more.
  if (!/^[a-z0-9]([-a-z0-9]{0,54}[a-z0-9])?$/.test(ktraceNamespace))
    throw badArgument('--ktrace-namespace', 'the name of a namespace, of at most 56 characters', ktraceNamespace);
  const io: InstallIo = {
    stdout: process.stdout,
    stderr: process.stderr,
    interrupt: interruption(),
    findLab: () => findStandingLab(),
  };
  if (name === 'status') return runStatus({ ...cluster, output: flags['output'] as 'text' | 'json' }, io);
  const how = { wait: flags['wait'] !== false, timeoutMs: flags['timeoutMs'] as number, dryRun: flags['dryRun'] === true };
  if (name === 'uninstall') return runUninstall({ ...cluster, ...how, revokeGrants: flags['revokeGrants'] === true }, io);
  return runInstall({ ...cluster, ...how, image, leastPrivilege: flags['leastPrivilege'] === true }, io);
}

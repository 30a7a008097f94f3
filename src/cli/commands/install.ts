import type { Command } from '@commander-js/extra-typings';
import { LEAST_RECORD_BYTES, MOST_RECORD_HOURS } from '../../agent/record/record-config.ts';
import type { InstallOptions } from '../../client/install/install.ts';
import { badArgument } from '../../util/errors.ts';
import { parseBytes } from '../options/bytes.ts';
import { addClusterOptions } from '../options/cluster-options.ts';
import type { Done } from '../options/command.ts';
import { parseDuration } from '../options/duration.ts';
import { installedIn } from '../options/install-options.ts';
import { surroundings } from '../options/surroundings.ts';

/** Characters that a reference to an image has; the registry says the rest. */
const IMAGE = /^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,511}$/;

/** `ktrace install`: ktrace in a cluster, without kubectl. */
export function addInstall(program: Command, done: Done): void {
  const install = program
    .command('install')
    .description('put agents and gates on all nodes of a cluster')
    .option('--image <reference>', 'an image that the nodes can pull; without it the one that the manifests name')
    .option('--least-privilege', 'agents with three capabilities instead of privileged ones')
    .option(
      '--record [bytes]',
      'agents record for ktrace dump: so much on the disk of each node (default: 512Mi), the oldest goes first',
    )
    .option('--record-hours <hours>', 'how long a record is kept (default: 24)')
    .option('--monitoring', "and a PodMonitor, alerts and a dashboard, for the Prometheus operator and Grafana's sidecar")
    .option('--no-wait', 'do not wait until all pods are ready')
    .option('--timeout <duration>', 'how long to wait: 30s, 5m', '3m')
    .option('--dry-run', 'let the API server check everything, change nothing');
  addClusterOptions(install)
    .addHelpText('after', EXAMPLES)
    .action(async (flags) => {
      const { image } = flags;
      if (image !== undefined && !IMAGE.test(image))
        throw badArgument('--image', 'a reference such as registry.example/ktrace:0.1.0', image);
      const record = recordOf(flags);
      const how = { wait: flags.wait, timeoutMs: parseDuration('--timeout', flags.timeout), dryRun: flags.dryRun === true };
      const options = {
        ...installedIn(flags),
        ...how,
        image,
        leastPrivilege: flags.leastPrivilege === true,
        record,
        monitoring: flags.monitoring === true,
      };
      const { runInstall } = await import('../../client/install/install.ts');
      done(await runInstall(options, await surroundings()));
    });
}

function recordOf({ record, recordHours }: { record?: string | true; recordHours?: string }): InstallOptions['record'] {
  if (recordHours !== undefined && record === undefined) throw badArgument('--record-hours', '--record beside it', recordHours);
  if (record === undefined) return undefined;
  const hours = Number(recordHours ?? 1);
  if (!/^\d{1,4}$/.test(recordHours ?? '1') || hours < 1 || hours > MOST_RECORD_HOURS)
    throw badArgument('--record-hours', `hours, 1 to ${MOST_RECORD_HOURS}`, recordHours ?? '');
  return {
    ...(record === true ? {} : { bytes: parseBytes('--record', record, LEAST_RECORD_BYTES) }),
    ...(recordHours === undefined ? {} : { hours }),
  };
}

const EXAMPLES = `
Examples:
  ktrace install --image registry.example/ktrace:0.1.0     make it, wait until all nodes are ready
  ktrace install --image REF --least-privilege             without privileged containers
  ktrace install --image REF --record                      and agents that record, for ktrace dump; --record=2Gi for more
  ktrace install --image REF --dry-run                     what would be made or changed, as the API server sees it
  ktrace install --image REF --timeout 10m                 many nodes, a slow registry

It is a server-side apply: doing it again changes what differs (without --record what it had switched on is switched off), and what kubectl apply made is taken over.`;

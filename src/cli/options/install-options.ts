import { badArgument } from '../../util/errors.ts';
import { type ClusterFlags, type ClusterOptions, clusterOptions } from './cluster-options.ts';

/** The cluster of an installation. Throws KTRACE_E_ARGUMENT. */
export function installedIn(flags: ClusterFlags): ClusterOptions {
  const cluster = clusterOptions(flags);
  // 63 characters with what the agents' namespace has more.
  if (!/^[a-z0-9]([-a-z0-9]{0,54}[a-z0-9])?$/.test(cluster.ktraceNamespace))
    throw badArgument('--ktrace-namespace', 'the name of a namespace, of at most 56 characters', cluster.ktraceNamespace);
  return cluster;
}

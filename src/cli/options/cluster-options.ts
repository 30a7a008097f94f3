import type { Command } from 'commander';
import type { KubeOptions } from '../../client/cluster/kubeconfig.ts';
import { badArgument, EXIT, KtraceError } from '../../util/errors.ts';
import { parseDuration } from './duration.ts';

/** Flags of the cluster and the user, by the names that kubectl has for them. `hasUser`: false where `--user` means somebody else. */
export function addClusterOptions(command: Command, { hasUser = true } = {}): Command {
  command
    .optionsGroup('Cluster and user, as kubectl has them:')
    .option('--context <context>', 'the kubeconfig context')
    .option('--kubeconfig <file>', 'the kubeconfig, instead of KUBECONFIG or ~/.kube/config')
    .option('--cluster <cluster>', "the kubeconfig's cluster, instead of the context's");
  if (hasUser) command.option('--user <user>', "the kubeconfig's user, instead of the context's");
  return command
    .option('--as <user>', 'as this user, where you may impersonate')
    .option('--as-group <group>', 'and of this group (again: and of this)', (group, before: string[] = []) => [...before, group])
    .option('--request-timeout <duration>', 'how long one request may take, 5 or 5s or 1m; 0: for ever')
    .option('--insecure-skip-tls-verify', 'take any certificate of the API server')
    .option('--ktrace-namespace <namespace>', 'where ktrace is installed', process.env['KTRACE_NAMESPACE'] || 'ktrace');
}

export interface ClusterOptions extends KubeOptions {
  ktraceNamespace: string;
}

/** The values of these flags, as the parser gives them. `hasUser`: as above. Throws KTRACE_E_ARGUMENT. */
export function clusterOptions(flags: Readonly<Record<string, unknown>>, { hasUser = true } = {}): ClusterOptions {
  const text = (name: string): string | undefined => flags[name] as string | undefined;
  const asGroups = flags['asGroup'] as string[] | undefined;
  if (asGroups !== undefined && text('as') === undefined) {
    throw new KtraceError('KTRACE_E_ARGUMENT', 'Expected --as beside --as-group: groups are impersonated with a user', {
      exitCode: EXIT.usage,
    });
  }
  const timeout = text('requestTimeout');
  return {
    kubeconfig: text('kubeconfig'),
    context: text('context'),
    cluster: text('cluster'),
    user: hasUser ? text('user') : undefined,
    as: text('as'),
    asGroups,
    requestTimeoutMs: timeout === undefined ? undefined : parseTimeout(timeout),
    insecureSkipTlsVerify: flags['insecureSkipTlsVerify'] === true,
    ktraceNamespace: text('ktraceNamespace') ?? 'ktrace',
  };
}

/** Seconds where no unit is written, as kubectl reads it. */
function parseTimeout(text: string): number {
  if (/^0(?:ms|s|m|h)?$/.test(text)) return 0;
  if (text === '') throw badArgument('--request-timeout', 'a duration such as 5, 5s or 1m, or 0', text);
  return parseDuration('--request-timeout', /^\d+$/.test(text) ? `${text}s` : text, 'a duration such as 5, 5s or 1m, or 0');
}

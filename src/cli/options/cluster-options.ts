import type { Command, OptionValues } from '@commander-js/extra-typings';
import type { KubeOptions } from '../../client/cluster/kubeconfig.ts';
import { badArgument, EXIT, KtraceError } from '../../util/errors.ts';
import { collect } from './command.ts';
import { parseDuration } from './duration.ts';

/** Flags of the cluster and the user, by the names that kubectl has for them. */
export function addClusterOptions<Words extends unknown[], Flags extends OptionValues>(command: Command<Words, Flags>) {
  return addRequestOptions(addConfigOptions(command).option('--user <user>', "the kubeconfig's user, instead of the context's"));
}

/** The same without `--user`, for commands in which that is somebody else. */
export function addGranteeOptions<Words extends unknown[], Flags extends OptionValues>(command: Command<Words, Flags>) {
  return addRequestOptions(addConfigOptions(command));
}

function addConfigOptions<Words extends unknown[], Flags extends OptionValues>(command: Command<Words, Flags>) {
  return command
    .optionsGroup('Cluster and user, as kubectl has them:')
    .option('--context <context>', 'the kubeconfig context')
    .option('--kubeconfig <file>', 'the kubeconfig, instead of KUBECONFIG or ~/.kube/config')
    .option('--cluster <cluster>', "the kubeconfig's cluster, instead of the context's");
}

function addRequestOptions<Words extends unknown[], Flags extends OptionValues>(command: Command<Words, Flags>) {
  return command
    .option('--as <user>', 'as this user, where you may impersonate')
    .option('--as-group <group>', 'and of this group (again: and of this)', collect)
    .option('--request-timeout <duration>', 'how long one request may take, 5 or 5s or 1m; 0: for ever')
    .option('--insecure-skip-tls-verify', 'take any certificate of the API server')
    .option('--ktrace-namespace <namespace>', 'where ktrace is installed', process.env['KTRACE_NAMESPACE'] || 'ktrace');
}

/** These flags as the parser gives them. */
export interface ClusterFlags {
  context?: string;
  kubeconfig?: string;
  cluster?: string;
  user?: string;
  as?: string;
  asGroup?: string[];
  requestTimeout?: string;
  insecureSkipTlsVerify?: true;
  ktraceNamespace?: string;
}

export interface ClusterOptions extends KubeOptions {
  ktraceNamespace: string;
}

/** What they say. Throws KTRACE_E_ARGUMENT. */
export function clusterOptions({
  asGroup,
  requestTimeout,
  insecureSkipTlsVerify,
  ktraceNamespace,
  ...flags
}: ClusterFlags): ClusterOptions {
  if (asGroup !== undefined && flags.as === undefined) {
    throw new KtraceError('KTRACE_E_ARGUMENT', 'Expected --as beside --as-group: groups are impersonated with a user', {
      exitCode: EXIT.usage,
    });
  }
  return {
    kubeconfig: flags.kubeconfig,
    context: flags.context,
    cluster: flags.cluster,
    user: flags.user,
    as: flags.as,
    asGroups: asGroup,
    requestTimeoutMs: requestTimeout === undefined ? undefined : parseTimeout(requestTimeout),
    insecureSkipTlsVerify: insecureSkipTlsVerify === true,
    ktraceNamespace: ktraceNamespace ?? 'ktrace',
  };
}

/** Seconds where no unit is written, as kubectl reads it. */
function parseTimeout(text: string): number {
  if (/^0(?:ms|s|m|h)?$/.test(text)) return 0;
  if (text === '') throw badArgument('--request-timeout', 'a duration such as 5, 5s or 1m, or 0', text);
  return parseDuration('--request-timeout', /^\d+$/.test(text) ? `${text}s` : text, 'a duration such as 5, 5s or 1m, or 0');
}

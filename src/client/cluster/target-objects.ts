import type { Target } from '../../event/target.ts';
import { KtraceError } from '../../util/errors.ts';
import { type Api, ApiError, listAll } from './api.ts';
import { didYouMean } from './suggest.ts';

/** Where the API has the objects that targets name. */
const PATHS = {
  pod: { group: '/api/v1', plural: 'pods' },
  service: { group: '/api/v1', plural: 'services' },
  deployment: { group: '/apis/apps/v1', plural: 'deployments' },
  replicaset: { group: '/apis/apps/v1', plural: 'replicasets' },
  statefulset: { group: '/apis/apps/v1', plural: 'statefulsets' },
  daemonset: { group: '/apis/apps/v1', plural: 'daemonsets' },
  job: { group: '/apis/batch/v1', plural: 'jobs' },
  cronjob: { group: '/apis/batch/v1', plural: 'cronjobs' },
  node: { group: '/api/v1', plural: 'nodes' },
  namespace: { group: '/api/v1', plural: 'namespaces' },
} as const;

interface Named {
  metadata?: { name?: string };
}

interface Placed {
  spec?: { nodeName?: string };
}

/**
 * Asks for every named target with the user's rights. Throws for the first that does not exist (KTRACE_E_POD_UNKNOWN,
 * KTRACE_E_NAMESPACE_UNKNOWN, …), with near names; what the user may not ask for is left to the agents.
 */
export async function checkTargets(api: Api, targets: Target[], signal?: AbortSignal): Promise<void> {
  await Promise.all(targets.map((target) => checkTarget(api, target, signal)));
}

/**
 * The nodes that the targets' pods are on; undefined where all nodes matter. A target that is not there is on none. Throws
 * {@link ApiError}, with status 403 where the user may not ask.
 */
export async function nodesOf(api: Api, targets: Target[], signal?: AbortSignal): Promise<Set<string> | undefined> {
  const nodes = new Set<string>();
  for (const target of targets) {
    if (target.kind === 'all') return undefined;
    try {
      for (const pod of await podsOf(api, target, signal)) if (pod.spec?.nodeName !== undefined) nodes.add(pod.spec.nodeName);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
  }
  return nodes;
}

async function checkTarget(api: Api, target: Target, signal?: AbortSignal): Promise<void> {
  if (target.kind === 'all') return;
  if (target.kind === 'selector') {
    if (target.namespace !== undefined) await checkNamespace(api, target.namespace, signal);
    return;
  }
  if (target.kind === 'namespace') return checkNamespace(api, target.name, signal);
  const namespace = 'namespace' in target ? target.namespace : undefined;
  if (await exists(api, objectPath(target.kind, target.name, namespace), signal)) return;
  if (namespace !== undefined) await checkNamespace(api, namespace, signal);
  const where = namespace === undefined ? '' : ` in namespace ${namespace}`;
  throw new KtraceError(
    `KTRACE_E_${target.kind.toUpperCase()}_UNKNOWN`,
    `There is no ${target.kind} ${JSON.stringify(target.name)}${where}`,
    {
      hint: await hintFor(api, target.kind, target.name, namespace, signal),
    },
  );
}

async function checkNamespace(api: Api, name: string, signal?: AbortSignal): Promise<void> {
  if (await exists(api, objectPath('namespace', name), signal)) return;
  throw new KtraceError('KTRACE_E_NAMESPACE_UNKNOWN', `There is no namespace ${JSON.stringify(name)}`, {
    hint: await hintFor(api, 'namespace', name, undefined, signal),
  });
}

/** False only when the API server says that this object is not there. */
async function exists(api: Api, path: string, signal?: AbortSignal): Promise<boolean> {
  try {
    await api.get(path, signal);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status !== 401) return !error.isMissing;
    throw error;
  }
}

async function hintFor(
  api: Api,
  kind: keyof typeof PATHS,
  name: string,
  namespace: string | undefined,
  signal?: AbortSignal,
): Promise<string> {
  const prefix = kind === 'namespace' ? '' : `${kind}/`;
  const plural = PATHS[kind].plural;
  const fallback = `Look with: kubectl get ${plural}${namespace === undefined ? '' : ` -n ${namespace}`}.`;
  try {
    const others = await listAll<Named>(api, listPath(kind, namespace), {}, signal);
    return (
      didYouMean(
        name,
        others.map(({ metadata }) => metadata?.name ?? ''),
        prefix,
      ) ?? fallback
    );
  } catch {
    return fallback;
  }
}

async function podsOf(api: Api, target: Exclude<Target, { kind: 'all' }>, signal?: AbortSignal): Promise<Placed[]> {
  switch (target.kind) {
    case 'node':
      return [{ spec: { nodeName: target.name } }];
    case 'namespace':
      return listAll(api, listPath('pod', target.name), {}, signal);
    case 'selector':
      return listAll(
        api,
        target.namespace === undefined ? '/api/v1/pods' : listPath('pod', target.namespace),
        { labelSelector: target.selector },
        signal,
      );
    case 'pod':
      return [(await api.get(objectPath('pod', target.name, target.namespace), signal)) as Placed];
    case 'service': {
      const path = `/apis/discovery.k8s.io/v1/namespaces/${target.namespace}/endpointslices`;
      const slices = await listAll<{ endpoints?: { nodeName?: string }[] }>(
        api,
        path,
        { labelSelector: `kubernetes.io/service-name=${target.name}` },
        signal,
      );
      return slices.flatMap(({ endpoints }) =>
        (endpoints ?? []).map(({ nodeName }) => ({ spec: nodeName === undefined ? {} : { nodeName } })),
      );
    }
    case 'cronjob': {
      await api.get(objectPath('cronjob', target.name, target.namespace), signal);
      const jobs = await listAll<Owned>(api, listPath('job', target.namespace), {}, signal);
      const names = jobs.filter((job) => isOf(job, target.name)).map(({ metadata }) => metadata.name);
      if (names.length === 0) return [];
      return listAll(api, listPath('pod', target.namespace), { labelSelector: `job-name in (${names.join(',')})` }, signal);
    }
    default: {
      const owner = (await api.get(objectPath(target.kind, target.name, target.namespace), signal)) as {
        spec?: { selector?: LabelSelector };
      };
      return listAll(api, listPath('pod', target.namespace), { labelSelector: selectorText(owner.spec?.selector ?? {}) }, signal);
    }
  }
}

interface Owned {
  metadata: { name: string; ownerReferences?: { kind: string; name: string }[] };
}

function isOf({ metadata }: Owned, cronJob: string): boolean {
  return metadata.ownerReferences?.some(({ kind, name }) => kind === 'CronJob' && name === cronJob) === true;
}

interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

function selectorText({ matchLabels, matchExpressions }: LabelSelector): string {
  const labels = Object.entries(matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const expressions = (matchExpressions ?? []).map(({ key, operator, values }) => {
    if (operator === 'Exists') return key;
    if (operator === 'DoesNotExist') return `!${key}`;
    return `${key} ${operator === 'In' ? 'in' : 'notin'} (${(values ?? []).join(',')})`;
  });
  return [...labels, ...expressions].join(',');
}

function listPath(kind: keyof typeof PATHS, namespace?: string): string {
  const { group, plural } = PATHS[kind];
  return namespace === undefined ? `${group}/${plural}` : `${group}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

function objectPath(kind: keyof typeof PATHS, name: string, namespace?: string): string {
  return `${listPath(kind, namespace)}/${encodeURIComponent(name)}`;
}

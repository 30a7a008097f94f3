import { type Api, createApi, listAll } from './api.ts';
import { contextNamespace, type KubeOptions, type KubeSurroundings, loadKubeConfig } from './kubeconfig.ts';

/** A person waits for the next letter: after so long there are no names. */
const TIMEOUT_MS = 2000;
const MOST = 500;

/** Paths of the lists that names of a kind come from; `undefined` as namespace: the kind has none. */
const LISTS: Record<string, (namespace: string) => string> = {
  pod: (namespace) => `/api/v1/namespaces/${namespace}/pods`,
  deploy: (namespace) => `/apis/apps/v1/namespaces/${namespace}/deployments`,
  rs: (namespace) => `/apis/apps/v1/namespaces/${namespace}/replicasets`,
  sts: (namespace) => `/apis/apps/v1/namespaces/${namespace}/statefulsets`,
  ds: (namespace) => `/apis/apps/v1/namespaces/${namespace}/daemonsets`,
  job: (namespace) => `/apis/batch/v1/namespaces/${namespace}/jobs`,
  cj: (namespace) => `/apis/batch/v1/namespaces/${namespace}/cronjobs`,
  svc: (namespace) => `/api/v1/namespaces/${namespace}/services`,
  node: () => '/api/v1/nodes',
  ns: () => '/api/v1/namespaces',
};

/** Kinds that can be followed, as a completion offers them. */
export const COMPLETED_KINDS = Object.keys(LISTS);

export interface Names {
  /** Names of a kind, e.g. of `pod`, that begin with `prefix`; of the namespace, or of the context's. Empty when the cluster does not answer in time. */
  ofKind(kind: string, prefix: string, namespace: string | undefined): Promise<string[]>;
  contexts(): string[];
}

/** Names from the user's cluster. Nothing is ever thrown: who completes a word wants no error between the letters. */
export function clusterNames(options: KubeOptions, around: KubeSurroundings): Names {
  const config = attempt(() => loadKubeConfig(options, around));
  const api: Api | undefined = config === undefined ? undefined : createApi(config, TIMEOUT_MS);
  return {
    contexts: () => config?.getContexts().map(({ name }) => name) ?? [],
    async ofKind(kind, prefix, namespace) {
      const path = LISTS[kind];
      if (config === undefined || api === undefined || path === undefined) return [];
      const names = await listAll<{ metadata?: { name?: string } }>(
        api,
        path(encodeURIComponent(namespace ?? contextNamespace(config))),
      ).catch(() => []);
      return names.flatMap(({ metadata }) => (metadata?.name?.startsWith(prefix) === true ? [metadata.name] : [])).slice(0, MOST);
    },
  };
}

function attempt<Result>(make: () => Result): Result | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

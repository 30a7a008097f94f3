/** A Kubernetes object as far as it has to be found: what kind, and which one. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string };
}

/** Resource names of the kinds that ktrace makes. */
const PLURALS: Record<string, string> = {
  Namespace: 'namespaces',
  ServiceAccount: 'serviceaccounts',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
  DaemonSet: 'daemonsets',
  NetworkPolicy: 'networkpolicies',
  ResourceQuota: 'resourcequotas',
  ConfigMap: 'configmaps',
  PodMonitor: 'podmonitors',
  PrometheusRule: 'prometheusrules',
};

/** Path of the list that the object is in, e.g. `/apis/apps/v1/namespaces/ktrace/daemonsets`. */
export function collectionPath({ apiVersion, kind, metadata: { namespace } }: KubeObject): string {
  const plural = PLURALS[kind];
  if (plural === undefined) throw new Error(`${kind} is no kind that ktrace makes`);
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return `${root}${namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${plural}`;
}

export function objectPath(object: KubeObject): string {
  return `${collectionPath(object)}/${encodeURIComponent(object.metadata.name)}`;
}

/** As kubectl names it, with its namespace. */
export function titleOf({ kind, metadata: { name, namespace } }: KubeObject): string {
  return `${kind.toLowerCase()}/${name}${namespace === undefined ? '' : ` in ${namespace}`}`;
}

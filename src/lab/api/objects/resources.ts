import type { Resource } from '../../plan/types.ts';

/** The resources that the API server stores. Those without objects are here so that listing them is answered, not refused. */
export const RESOURCES: readonly Resource[] = [
  core('pods', 'Pod'),
  core('services', 'Service'),
  core('serviceaccounts', 'ServiceAccount'),
  core('configmaps', 'ConfigMap'),
  core('nodes', 'Node', false),
  core('namespaces', 'Namespace', false),
  grouped('apps', 'deployments', 'Deployment'),
  grouped('apps', 'replicasets', 'ReplicaSet'),
  grouped('apps', 'daemonsets', 'DaemonSet'),
  grouped('apps', 'statefulsets', 'StatefulSet'),
  grouped('batch', 'jobs', 'Job'),
  grouped('batch', 'cronjobs', 'CronJob'),
  grouped('discovery.k8s.io', 'endpointslices', 'EndpointSlice'),
  grouped('networking.k8s.io', 'networkpolicies', 'NetworkPolicy'),
  grouped('rbac.authorization.k8s.io', 'roles', 'Role'),
  grouped('rbac.authorization.k8s.io', 'rolebindings', 'RoleBinding'),
  grouped('rbac.authorization.k8s.io', 'clusterroles', 'ClusterRole', false),
  grouped('rbac.authorization.k8s.io', 'clusterrolebindings', 'ClusterRoleBinding', false),
];

/** The resource an object belongs to. */
export function resourceOf(object: { apiVersion: string; kind: string }): Resource {
  const found = RESOURCES.find((resource) => resource.kind === object.kind && resource.apiVersion === object.apiVersion);
  if (found === undefined) throw new RangeError(`no resource for ${object.apiVersion} ${object.kind}`);
  return found;
}

function core(plural: string, kind: string, namespaced = true): Resource {
  return { root: '/api/v1', group: '', plural, kind, apiVersion: 'v1', namespaced };
}

function grouped(group: string, plural: string, kind: string, namespaced = true): Resource {
  return { root: `/apis/${group}/v1`, group, plural, kind, apiVersion: `${group}/v1`, namespaced };
}

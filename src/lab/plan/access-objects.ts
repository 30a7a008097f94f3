import { type GrantObject, grantObjects } from '../../access/grant-objects.ts';
import { agentNamespace, KTRACE_NAMESPACE } from '../../protocol/constants.ts';
import type { ApiObject } from './types.ts';

/**
 * Who may do what in a lab, as RBAC objects: the agents as their manifest lets them, `lab-viewer` reads the namespace `default` and
 * was granted to see it, `lab-nobody` has no right. `lab-admin` needs none: it is a cluster administrator.
 */
export function accessObjects(): ApiObject[] {
  const grants = [
    grantObjects({ namespace: 'default', ktraceNamespace: KTRACE_NAMESPACE, grantee: { kind: 'User', name: 'lab-viewer' } }),
    grantObjects({ namespace: undefined, ktraceNamespace: KTRACE_NAMESPACE, grantee: { kind: 'User', name: 'lab-admin' } }),
  ];
  const granted = new Map<string, GrantObject>();
  for (const object of grants.flatMap(({ shared, own }) => [...shared, ...own])) {
    const { kind, metadata } = object;
    granted.set(`${kind} ${metadata.namespace ?? ''}/${metadata.name}`, object);
  }
  const agent = { kind: 'ServiceAccount', name: 'ktrace-agent', namespace: agentNamespace(KTRACE_NAMESPACE) };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: agent.name, namespace: agent.namespace } },
    role('ClusterRole', { name: 'ktrace-agent' }, [
      { apiGroups: [''], resources: ['pods', 'services', 'nodes', 'namespaces'], verbs: READ },
      { apiGroups: ['apps'], resources: ['replicasets'], verbs: READ },
      { apiGroups: ['batch'], resources: ['jobs'], verbs: READ },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
      { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
      { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
    ]),
    binding('ClusterRole', { name: 'ktrace-agent' }, agent),
    role('Role', { name: 'lab-viewer', namespace: 'default' }, [
      { apiGroups: [''], resources: ['pods', 'services'], verbs: READ },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
    ]),
    binding('Role', { name: 'lab-viewer', namespace: 'default' }, { kind: 'User', name: 'lab-viewer' }),
    ...([...granted.values()] as unknown as ApiObject[]),
  ];
}

const READ = ['get', 'list', 'watch'];
const RBAC = 'rbac.authorization.k8s.io';

function role(kind: string, metadata: ApiObject['metadata'], rules: object[]): ApiObject {
  return { apiVersion: `${RBAC}/v1`, kind, metadata, rules };
}

function binding(kind: string, metadata: ApiObject['metadata'], subject: object): ApiObject {
  const roleRef = { apiGroup: RBAC, kind, name: metadata.name };
  return { apiVersion: `${RBAC}/v1`, kind: `${kind}Binding`, metadata, roleRef, subjects: [subject] };
}

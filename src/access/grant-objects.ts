import { createHash } from 'node:crypto';
import {
  ACCESS_GROUP,
  ADMIN_ACCOUNT,
  FLOWS,
  PAYLOAD_ADMIN_ACCOUNT,
  PAYLOAD_VIEWER_ACCOUNT,
  PAYLOADS,
  VIEWER_ACCOUNT,
} from './scope.ts';

/** To whom something is granted, as RBAC names them. */
export interface Grantee {
  kind: 'User' | 'Group';
  name: string;
}

/** A Kubernetes object that a grant is made of. */
export interface GrantObject {
  apiVersion: 'v1' | 'rbac.authorization.k8s.io/v1';
  kind: 'ServiceAccount' | 'Role' | 'RoleBinding' | 'ClusterRole' | 'ClusterRoleBinding';
  metadata: { name: string; namespace?: string; labels: Record<string, string>; annotations?: Record<string, string> };
  rules?: { apiGroups: string[]; resources: string[]; resourceNames?: string[]; verbs: string[] }[];
  roleRef?: { apiGroup: typeof RBAC; kind: 'Role' | 'ClusterRole'; name: string };
  subjects?: { kind: 'User' | 'Group' | 'ServiceAccount'; name: string; namespace?: string; apiGroup?: typeof RBAC }[];
}

export interface Grant {
  /** The namespace to be seen; undefined: everything. */
  namespace: string | undefined;
  /** Where ktrace is installed. */
  ktraceNamespace: string;
  grantee: Grantee;
  /** Seeing what is behind the headers, too: it comes beside the same grant without. */
  payloads?: boolean;
}

/**
 * What a grant is made of, in the order it is to be made. `shared` serves everybody who may see the same; `own` is this
 * grantee's alone and of this grant alone, so that making and unmaking grants never touches another's.
 */
export function grantObjects(grant: Grant): { shared: GrantObject[]; own: GrantObject[] } {
  const { namespace, ktraceNamespace, grantee, payloads = false } = grant;
  const account = accountOf(namespace, payloads);
  const home = namespace ?? ktraceNamespace;
  const id = `${createHash('sha256')
    .update(`${grantee.kind} ${grantee.name} ${namespace ?? '*'}`)
    .digest('hex')
    .slice(0, 12)}`;
  const viewing = namespace === undefined ? seeEverything(account, home, payloads) : seeNamespace(account, home, payloads);
  const token = { apiGroups: [''], resources: ['serviceaccounts/token'], resourceNames: [account], verbs: ['create'] };
  const connect = [
    { apiGroups: [''], resources: ['pods'], verbs: ['list'] },
    { apiGroups: [''], resources: ['pods/portforward'], verbs: ['get', 'create'] },
  ];
  return {
    shared: [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: meta(account, home) },
      ...viewing,
      {
        apiVersion: RBAC_VERSION,
        kind: 'Role',
        metadata: meta(`${account}-token`, home),
        rules: [token, ...(namespace === undefined || payloads ? [] : FIND)],
      },
      ...(payloads
        ? []
        : [{ apiVersion: RBAC_VERSION, kind: 'Role', metadata: meta(CONNECT, ktraceNamespace), rules: connect } as const]),
    ],
    own: [
      bindingTo(grant, `${account}-token-${id}`, home, `${account}-token`),
      ...(payloads ? [] : [bindingTo(grant, `${CONNECT}-${id}`, ktraceNamespace, CONNECT)]),
    ],
  };
}

const RBAC = 'rbac.authorization.k8s.io';
const RBAC_VERSION = 'rbac.authorization.k8s.io/v1';
const CONNECT = 'ktrace-connect';
/**
 * On which nodes targets are: in a cluster of more nodes than a follow reaches the client has to know. Nobody but the API server can tell it, as
 * each agent knows its own node's pods. By the templates of workloads nothing is seen that is not in their pods.
 */
const FIND = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
  { apiGroups: ['apps'], resources: ['deployments', 'replicasets', 'statefulsets', 'daemonsets'], verbs: ['get'] },
  { apiGroups: ['batch'], resources: ['jobs'], verbs: ['get', 'list'] },
  { apiGroups: ['batch'], resources: ['cronjobs'], verbs: ['get'] },
  { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list'] },
];
const WATCH = [{ apiGroups: [ACCESS_GROUP], resources: [FLOWS], verbs: ['get', 'watch'] }];
const WATCH_PAYLOADS = [...WATCH, { apiGroups: [ACCESS_GROUP], resources: [PAYLOADS], verbs: ['get'] }];

function accountOf(namespace: string | undefined, payloads: boolean): string {
  if (payloads) return namespace === undefined ? PAYLOAD_ADMIN_ACCOUNT : PAYLOAD_VIEWER_ACCOUNT;
  return namespace === undefined ? ADMIN_ACCOUNT : VIEWER_ACCOUNT;
}

function seeNamespace(name: string, namespace: string, payloads: boolean): GrantObject[] {
  return [
    { apiVersion: RBAC_VERSION, kind: 'Role', metadata: meta(name, namespace), rules: payloads ? WATCH_PAYLOADS : WATCH },
    {
      apiVersion: RBAC_VERSION,
      kind: 'RoleBinding',
      metadata: meta(name, namespace),
      roleRef: { apiGroup: RBAC, kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
  ];
}

function seeEverything(name: string, namespace: string, payloads: boolean): GrantObject[] {
  return [
    { apiVersion: RBAC_VERSION, kind: 'ClusterRole', metadata: meta(name), rules: payloads ? WATCH_PAYLOADS : WATCH },
    {
      apiVersion: RBAC_VERSION,
      kind: 'ClusterRoleBinding',
      metadata: meta(name),
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
  ];
}

function bindingTo({ grantee, namespace }: Grant, name: string, home: string, role: string): GrantObject {
  return {
    apiVersion: RBAC_VERSION,
    kind: 'RoleBinding',
    metadata: { ...meta(name, home), annotations: { 'ktrace.dev/sees': namespace ?? 'everything' } },
    roleRef: { apiGroup: RBAC, kind: 'Role', name: role },
    subjects: [{ ...grantee, apiGroup: RBAC }],
  };
}

function meta(name: string, namespace?: string): GrantObject['metadata'] {
  const labels = { 'app.kubernetes.io/name': 'ktrace', 'app.kubernetes.io/managed-by': 'ktrace-grant' };
  return { name, ...(namespace === undefined ? {} : { namespace }), labels };
}

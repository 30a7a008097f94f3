import type { Tokens } from '../tokens.ts';
import type { Attempt } from './status.ts';

/** A user as TokenReview tells of one. */
export interface User {
  username: string;
  uid: string;
  groups: string[];
}

interface Rule {
  verbs: string[];
  /** `*` or `resource` or `resource/subresource`. */
  resources: string[];
  namespace?: string;
}

const READ = ['get', 'list', 'watch'];

const USERS: Record<keyof Tokens, User & { rules: Rule[] }> = {
  admin: { username: 'lab-admin', uid: 'admin', groups: ['system:masters'], rules: [{ verbs: ['*'], resources: ['*'] }] },
  agent: {
    username: 'system:serviceaccount:ktrace:ktrace-agent',
    uid: 'agent',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:ktrace'],
    rules: [
      { verbs: READ, resources: ['pods', 'services', 'endpointslices', 'nodes', 'namespaces', 'replicasets', 'jobs'] },
      { verbs: ['create'], resources: ['tokenreviews', 'subjectaccessreviews'] },
    ],
  },
  viewer: {
    username: 'lab-viewer',
    uid: 'viewer',
    groups: [],
    rules: [{ verbs: READ, resources: ['pods', 'services', 'endpointslices'], namespace: 'default' }],
  },
  nobody: { username: 'lab-nobody', uid: 'nobody', groups: [], rules: [] },
};

/** Whose token this is; undefined: nobody's. */
export function userOfToken(tokens: Tokens, token: string): User | undefined {
  const name = (Object.keys(tokens) as (keyof Tokens)[]).find((candidate) => tokens[candidate] === token);
  if (name === undefined) return undefined;
  const { username, uid, groups } = USERS[name];
  return { username, uid, groups: [...groups, 'system:authenticated'] };
}

/** Whether RBAC would let the user do this: a small table stands for Roles and their bindings. */
export function isAllowed(attempt: Attempt): boolean {
  const rules = Object.values(USERS).find((user) => user.username === attempt.user)?.rules ?? [];
  const wanted = attempt.subresource === undefined ? attempt.resource : `${attempt.resource}/${attempt.subresource}`;
  return (
    rules.some(
      (rule) =>
        (rule.verbs.includes('*') || rule.verbs.includes(attempt.verb)) &&
        (rule.resources.includes('*') || rule.resources.includes(wanted)) &&
        (rule.namespace === undefined || rule.namespace === attempt.namespace),
    ) || attempt.resource.startsWith('selfsubject')
  );
}

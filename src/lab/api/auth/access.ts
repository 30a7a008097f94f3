import { agentNamespace, KTRACE_NAMESPACE } from '../../../protocol/constants.ts';
import type { Tokens, UserTokens } from '../../machine/tokens.ts';
import type { Store } from '../objects/store.ts';
import { verifyAccountToken } from './account-tokens.ts';
import type { User } from './user.ts';

/** The audience of tokens for the API server itself. */
export const API_AUDIENCE = 'https://kubernetes.default.svc';

const AGENTS = agentNamespace(KTRACE_NAMESPACE);

/** Users by the names of their tokens. What they may do is in the Roles that the server holds. */
const USERS: Record<keyof UserTokens, User> = {
  admin: { username: 'lab-admin', uid: 'admin', groups: ['system:masters'] },
  agent: {
    username: `system:serviceaccount:${AGENTS}:ktrace-agent`,
    uid: 'agent',
    groups: ['system:serviceaccounts', `system:serviceaccounts:${AGENTS}`],
  },
  viewer: { username: 'lab-viewer', uid: 'viewer', groups: [] },
  nobody: { username: 'lab-nobody', uid: 'nobody', groups: [] },
};

/** Whose token this is, if it is one for this audience; undefined: nobody's. */
export function userOfToken(tokens: Tokens, store: Store, token: string, audience = API_AUDIENCE): User | undefined {
  const names = Object.keys(USERS) as (keyof UserTokens)[];
  const name = names.find((candidate) => tokens[candidate] === token);
  const user = name === undefined ? verifyAccountToken(tokens.signingKey, store, token, audience) : USERS[name];
  // The users' own tokens are for the API server alone.
  if (user === undefined || (name !== undefined && audience !== API_AUDIENCE)) return undefined;
  return { ...user, groups: [...user.groups, 'system:authenticated'] };
}

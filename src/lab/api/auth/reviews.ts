import type { Tokens } from '../../machine/tokens.ts';
import { badRequest, invalid } from '../objects/status.ts';
import type { Store } from '../objects/store.ts';
import { API_AUDIENCE, userOfToken } from './access.ts';
import { ruling, type Subject } from './rbac.ts';
import type { User } from './user.ts';

/** Resources that are asked, not stored: a POST is answered with the same object and its `status`. */
export const REVIEWS: Record<
  string,
  'tokenreviews' | 'subjectaccessreviews' | 'selfsubjectaccessreviews' | 'selfsubjectreviews'
> = {
  '/apis/authentication.k8s.io/v1/tokenreviews': 'tokenreviews',
  '/apis/authentication.k8s.io/v1/selfsubjectreviews': 'selfsubjectreviews',
  '/apis/authorization.k8s.io/v1/subjectaccessreviews': 'subjectaccessreviews',
  '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews': 'selfsubjectaccessreviews',
};

interface ReviewBody {
  spec?: {
    token?: string;
    audiences?: string[];
    user?: string;
    groups?: string[];
    resourceAttributes?: {
      namespace?: string;
      verb?: string;
      group?: string;
      resource?: string;
      subresource?: string;
      name?: string;
    };
    nonResourceAttributes?: unknown;
  };
}

/** The real server names no kind in what it says of these. */
const REVIEW = { group: 'authorization.k8s.io', kind: '', name: '' };

/** Answers a review as the real server would, with the lab's users and the Roles that it holds. */
export function review(path: string, body: unknown, asker: User, tokens: Tokens, store: Store): Record<string, unknown> {
  const request = (body ?? {}) as ReviewBody;
  switch (REVIEWS[path]) {
    case 'tokenreviews':
      if (!request.spec?.token) throw badRequest('token is required for TokenReview in authentication');
      return { ...request, status: tokenStatus(request, tokens, store) };
    case 'selfsubjectreviews':
      return {
        ...request,
        metadata: { creationTimestamp: `${new Date().toISOString().slice(0, 19)}Z` },
        status: { userInfo: asker },
      };
    case 'subjectaccessreviews':
      if (!request.spec?.user && (request.spec?.groups ?? []).length === 0)
        throw invalid(REVIEW, {
          field: 'spec.user',
          reason: 'Invalid',
          value: '',
          text: 'at least one of user or group must be specified',
        });
      return {
        ...request,
        status: accessStatus(request, { username: request.spec?.user ?? '', groups: request.spec?.groups ?? [] }, store),
      };
    default:
      return { ...request, status: accessStatus(request, asker, store) };
  }
}

/** The audiences in the answer are those that were asked for and that the token is for. */
function tokenStatus(request: ReviewBody, tokens: Tokens, store: Store): Record<string, unknown> {
  const asked = request.spec?.audiences ?? [];
  const users = (asked.length > 0 ? asked : [API_AUDIENCE]).map((audience) => ({
    audience,
    user: userOfToken(tokens, store, request.spec?.token ?? '', audience),
  }));
  const known = users.filter(({ user }) => user !== undefined);
  const user = known[0]?.user;
  if (user === undefined) return { user: {}, error: 'invalid bearer token' };
  return { authenticated: true, user, audiences: known.map(({ audience }) => audience) };
}

function accessStatus(request: ReviewBody, user: Subject, store: Store): Record<string, unknown> {
  const attributes = request.spec?.resourceAttributes;
  if (attributes === undefined) {
    if (request.spec?.nonResourceAttributes === undefined) {
      const text = 'exactly one of nonResourceAttributes or resourceAttributes must be specified';
      throw invalid(REVIEW, { field: 'spec.resourceAttributes', reason: 'Invalid', text });
    }
    return { allowed: false };
  }
  const reason = ruling(store, user, {
    user: user.username,
    verb: attributes.verb ?? '',
    group: attributes.group ?? '',
    resource: attributes.resource ?? '',
    // An absent namespace and an empty one both mean "all of them".
    ...(attributes.namespace === undefined || attributes.namespace === '' ? {} : { namespace: attributes.namespace }),
    ...(attributes.subresource === undefined || attributes.subresource === '' ? {} : { subresource: attributes.subresource }),
    ...(attributes.name === undefined || attributes.name === '' ? {} : { name: attributes.name }),
  });
  if (reason === undefined) return { allowed: false };
  return { allowed: true, ...(reason === '' ? {} : { reason }) };
}

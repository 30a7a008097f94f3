import type { Tokens } from '../tokens.ts';
import { isAllowed, type User, userOfToken } from './access.ts';
import { badRequest } from './status.ts';

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

/** Answers a review as the real server would, with the lab's table of users. */
export function review(path: string, body: unknown, asker: User, tokens: Tokens): Record<string, unknown> {
  const request = (body ?? {}) as ReviewBody;
  switch (REVIEWS[path]) {
    case 'tokenreviews':
      return { ...request, status: tokenStatus(request, tokens) };
    case 'selfsubjectreviews':
      return { ...request, status: { userInfo: asker } };
    case 'subjectaccessreviews':
      return { ...request, status: accessStatus(request, request.spec?.user ?? '') };
    default:
      return { ...request, status: accessStatus(request, asker.username) };
  }
}

function tokenStatus(request: ReviewBody, tokens: Tokens): Record<string, unknown> {
  const user = userOfToken(tokens, request.spec?.token ?? '');
  return user === undefined
    ? { user: {}, error: 'invalid bearer token' }
    : { authenticated: true, user, audiences: request.spec?.audiences ?? ['https://kubernetes.default.svc'] };
}

function accessStatus(request: ReviewBody, user: string): Record<string, unknown> {
  const attributes = request.spec?.resourceAttributes;
  if (attributes === undefined) {
    if (request.spec?.nonResourceAttributes === undefined) {
      throw badRequest('spec: Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified');
    }
    return { allowed: false };
  }
  const allowed = isAllowed({
    user,
    verb: attributes.verb ?? '',
    group: attributes.group ?? '',
    resource: attributes.resource ?? '',
    // An absent namespace and an empty one both mean "all of them".
    ...(attributes.namespace === undefined || attributes.namespace === '' ? {} : { namespace: attributes.namespace }),
    ...(attributes.subresource === undefined || attributes.subresource === '' ? {} : { subresource: attributes.subresource }),
  });
  return allowed ? { allowed: true, reason: 'RBAC: allowed by the lab' } : { allowed: false };
}

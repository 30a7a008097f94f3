import { type Api, RequestError } from './api.ts';
import { readJson } from './body.ts';

/** Whom a token belongs to, as TokenReview tells and SubjectAccessReview asks for. */
export interface Reviewed {
  username: string;
  uid?: string;
  groups?: string[];
  extra?: Record<string, string[]>;
}

export interface Reviewer {
  /** Whom a token for this audience belongs to; undefined when it is nobody's. @throws RequestError when the API server cannot say */
  token(token: string, audience: string): Promise<Reviewed | undefined>;
  /** Whether somebody may do this in a namespace, or without one in all of them. @throws RequestError when the API server cannot say */
  access(who: Reviewed, what: Attributes): Promise<boolean>;
}

export interface Attributes {
  verb: string;
  group: string;
  resource: string;
  namespace?: string;
}

/**
 * Asks the API server by TokenReview and SubjectAccessReview (`authentication.k8s.io/v1`, `authorization.k8s.io/v1`).
 * @param timeoutMs for each question
 */
export function openReviewer(api: Api, signal: AbortSignal, timeoutMs: number): Reviewer {
  const ask = async (path: string, kind: string, spec: object): Promise<Record<string, unknown>> => {
    const apiVersion = path.split('/').slice(2, 4).join('/');
    const { status, body } = await api.post(path, { apiVersion, kind, spec }, signal, timeoutMs);
    const answer = (await readJson(body, timeoutMs)) as { status?: unknown; message?: unknown } | null;
    if (status !== 200 && status !== 201)
      throw new RequestError(`${kind}: ${String(answer?.message ?? `HTTP status ${status}`)}`, status);
    return (answer?.status ?? {}) as Record<string, unknown>;
  };
  return {
    async token(token, audience) {
      const status = await ask('/apis/authentication.k8s.io/v1/tokenreviews', 'TokenReview', { token, audiences: [audience] });
      const user = status['user'] as Reviewed | undefined;
      // An authenticator that knows no audiences leaves them out: its tokens are for the API server, not for us.
      const audiences = status['audiences'];
      const isForUs = Array.isArray(audiences) && audiences.includes(audience);
      if (status['authenticated'] !== true || !isForUs || !user?.username) return undefined;
      return user;
    },
    async access({ username, uid, groups, extra }, resourceAttributes) {
      const spec = { user: username, uid, groups, extra, resourceAttributes };
      const status = await ask('/apis/authorization.k8s.io/v1/subjectaccessreviews', 'SubjectAccessReview', spec);
      return status['allowed'] === true && status['denied'] !== true;
    },
  };
}

import { createHash } from 'node:crypto';
import {
  ACCESS_GROUP,
  AUDIENCE,
  covers,
  FLOWS,
  grantLine,
  intersection,
  neededScope,
  PAYLOAD_VIEWER_ACCOUNT,
  PAYLOADS,
  type Scope,
  VIEWER_ACCOUNT,
} from '../access/scope.ts';
import type { Subscription } from '../event/target.ts';
import type { Reviewed, Reviewer } from '../kube/reviews.ts';
import type { IsSigned } from '../kube/token-keys.ts';
import { KtraceError, messageOf } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { Answers } from './answers.ts';
import type { Counter } from './feed.ts';
import { DEFAULT_LIMITS } from './limits.ts';
import { TokenBucket } from './token-bucket.ts';

/** What a client was found to be and to be allowed. */
export interface Access {
  /** Whoever resumes a stream must be the same. */
  identity: string;
  allowed: Scope;
  /** Of what they asked for they may see what is behind the headers. */
  payloads?: true;
}

/**
 * Decides what the owner of these tokens may see of a subscription.
 * @throws KtraceError KTRACE_E_NOT_AUTHORIZED when they may not see all that they ask for, KTRACE_E_AUTHORIZATION_UNAVAILABLE when
 * nobody can say at this moment
 */
export type Authorize = (tokens: readonly string[], subscription: Subscription, verb?: Verb) => Promise<Access>;

/** `watch` is following, `get` is what was recorded. */
export type Verb = 'watch' | 'get';

/** Everybody may see everything: for debugging, and where a test is about something else. */
export const allowAll: Authorize = async () => ({ identity: '', allowed: 'all', payloads: true });

/**
 * What was allowed is remembered for so much of the time after which connections ask again: with 30 s a right that is withdrawn ends a stream within
 * a minute.
 */
const KEEP_PART = 2 / 3;
/** Who has just been granted something tries again at once. */
const KEEP_DENIED_MS = 2_000;
/** Answers remembered at most, of each kind. */
const MOST_ANSWERS = 1024;
/**
 * Requests to the API server for tokens and rights that are not cached, a second and at once. Tokens that it has signed itself and all others have so
 * many each: those that anybody can forge take nothing from those that nobody can.
 */
const TOKEN_REVIEWS = { perSecond: 20, most: 64 };
const ACCESS_REVIEWS = { perSecond: 100, most: 1024 };
/** A token that has ended longer ago than this by our clock is not asked for: a node's clock may be wrong, and the API server's decides. */
const CLOCKS_APART_MS = 3_600_000;

/** The clocks of an authorizer, in milliseconds. */
export interface Clocks {
  /** How old an answer is, by a clock that is never stepped. */
  nowMs(): number;
  /** When a token ends, by the clock of this machine (Unix). */
  unixMs(): number;
}

const MACHINE_CLOCKS: Clocks = { nowMs: () => performance.now(), unixMs: () => Date.now() };

/**
 * Whether a token is anybody's, whatever they may see.
 * @throws KtraceError KTRACE_E_AUTHORIZATION_UNAVAILABLE
 */
export type Vouch = (token: string) => Promise<boolean>;

export interface Authorizer {
  authorize: Authorize;
  /** Undefined: everybody is vouched for. */
  vouch?: Vouch;
  /** What was asked of the API server, and what was not. */
  counters(): Counter[];
}

/**
 * Authorizes by TokenReview (audience `ktrace.dev`) and by SubjectAccessReview for `watch` (or `get`) `flows.ktrace.dev`. What cannot be a token
 * for us is refused without asking, and what is not cached yet is asked for at a bounded rate.
 * @param isSigned decides at which rate, and never who is let in
 */
export function createAuthorizer(
  reviewer: Reviewer,
  isSigned: IsSigned,
  log: Logger,
  recheckMs = DEFAULT_LIMITS.recheckMs,
  { nowMs, unixMs }: Clocks = MACHINE_CLOCKS,
): Authorizer {
  const mostKeptMs = recheckMs * KEEP_PART;
  const tokens = new Answers<Reviewed | undefined>(MOST_ANSWERS, (who) => who !== undefined, nowMs);
  const rights = new Answers<boolean>(MOST_ANSWERS, (isAllowed) => isAllowed, nowMs);
  const signedReviews = new TokenBucket(TOKEN_REVIEWS.perSecond, TOKEN_REVIEWS.most, nowMs);
  const otherReviews = new TokenBucket(TOKEN_REVIEWS.perSecond, TOKEN_REVIEWS.most, nowMs);
  const accessReviews = new TokenBucket(ACCESS_REVIEWS.perSecond, ACCESS_REVIEWS.most, nowMs);
  const counts = { tokens: 0, accesses: 0, notForUs: 0, tooOften: 0 };

  function pay(bucket: TokenBucket): void {
    if (bucket.take()) return;
    counts.tooOften += 1;
    throw askedTooOften();
  }

  async function reviewToken(token: string): Promise<Reviewed | undefined> {
    const expiresMs = expiryOfOurs(token);
    if (expiresMs === undefined || expiresMs < unixMs() - CLOCKS_APART_MS) {
      counts.notForUs += 1;
      return undefined;
    }
    const ask = (wasGood: boolean): Promise<Reviewed | undefined> => {
      // Who streams was found good before, and is asked for again in any case.
      if (!wasGood) pay(isSigned(token) ? signedReviews : otherReviews);
      counts.tokens += 1;
      return reviewer.token(token, AUDIENCE);
    };
    const keepMs = (who: Reviewed | undefined) =>
      who === undefined ? KEEP_DENIED_MS : Math.min(mostKeptMs, Math.max(0, expiresMs - unixMs()));
    return tokens.get(hashOf(token), ask, keepMs);
  }

  function may({ verb, resource }: Right, who: Reviewed, namespace: string | undefined): Promise<boolean> {
    const what = { verb, group: ACCESS_GROUP, resource, ...(namespace === undefined ? {} : { namespace }) };
    const key = hashOf(JSON.stringify([verb, resource, who.username, who.uid, who.groups, who.extra, namespace ?? '']));
    const ask = (wasGood: boolean): Promise<boolean> => {
      if (!wasGood) pay(accessReviews);
      counts.accesses += 1;
      return reviewer.access(who, what);
    };
    return rights.get(key, ask, (isAllowed) => (isAllowed ? mostKeptMs : KEEP_DENIED_MS));
  }

  async function allowedOf(right: Right, viewers: readonly Reviewed[], needed: Scope): Promise<Scope> {
    // A namespace's own account sees that namespace; nobody need ask whether it sees all.
    const general = viewers.filter(({ username }) => !isViewerAccount(username));
    const namespaces = needed === 'all' ? [] : [...needed];
    const [seesAll, ...seen] = await Promise.all([
      anyOf(general.map((who) => may(right, who, undefined))),
      ...namespaces.map((namespace) => {
        const own = viewers.filter(({ username }) => username.startsWith(`system:serviceaccount:${namespace}:`));
        return anyOf((own.length > 0 ? own : general).map((who) => may(right, who, namespace)));
      }),
    ]);
    return seesAll ? 'all' : new Set(namespaces.filter((_, index) => seen[index]));
  }

  async function allow(right: Right, viewers: readonly Reviewed[], needed: Scope): Promise<Scope> {
    const allowed = await allowedOf(right, viewers, needed);
    if (covers(allowed, needed)) return allowed;
    throw denied(reasonOf(right, viewers, allowed, needed), missingOf(allowed, needed), right.resource === PAYLOADS);
  }

  const authorize: Authorize = async (given, { targets, snapBytes }, verb = 'watch') => {
    const needed = neededScope(targets);
    const payloads = snapBytes !== undefined;
    if (given.length === 0) throw denied('no token was given', needed, payloads);
    try {
      const viewers = (await Promise.all(given.map(reviewToken))).filter((who) => who !== undefined);
      if (viewers.length === 0)
        throw denied(`the token is not valid (expired, withdrawn or not for ${AUDIENCE})`, needed, payloads);
      const [watched, allowedPayloads] = await Promise.all([
        allow({ verb, resource: FLOWS }, viewers, needed),
        payloads ? allow({ verb: 'get', resource: PAYLOADS }, viewers, needed) : ('all' as const),
      ]);
      return {
        identity: viewers
          .map(({ username }) => username)
          .sort()
          .join(' '),
        // Who may see all packets and some payloads sees with these some packets: no address that a client names brings others along.
        allowed: intersection(watched, allowedPayloads),
        ...(payloads ? { payloads } : {}),
      };
    } catch (error) {
      throw unavailable(error, log);
    }
  };
  const vouch: Vouch = async (token) => {
    try {
      return (await reviewToken(token)) !== undefined;
    } catch (error) {
      throw unavailable(error, log);
    }
  };
  return { authorize, vouch, counters: () => countersOf(counts) };
}

function unavailable(error: unknown, log: Logger): KtraceError {
  if (error instanceof KtraceError) return error;
  log.warn({ err: messageOf(error) }, 'the API server does not say who may see what');
  return new KtraceError(
    'KTRACE_E_AUTHORIZATION_UNAVAILABLE',
    `The API server does not say who may see what: ${messageOf(error)}`,
    {
      cause: error,
      hint: 'The agents need to reach the API server and to create tokenreviews and subjectaccessreviews.',
    },
  );
}

function countersOf({ tokens, accesses, notForUs, tooOften }: Record<string, number>): Counter[] {
  const values = { token: tokens, access: accesses, none_not_for_us: notForUs, none_too_often: tooOften };
  return [
    {
      name: 'ktrace_authorization_reviews_total',
      help: 'TokenReviews and SubjectAccessReviews asked for, and tokens and rights that were not, by what was asked or why not.',
      type: 'counter',
      values: Object.entries(values).map(([review, value]) => ({ labels: { review }, value: value ?? 0 })),
    },
  ];
}

function askedTooOften(): KtraceError {
  return new KtraceError('KTRACE_E_AUTHORIZATION_UNAVAILABLE', 'This agent was asked too often who may see what: try again', {
    hint: 'Somebody sends it tokens that are nobody’s, or asks for more and more namespaces: see ktrace_authorization_reviews_total.',
  });
}

interface Right {
  verb: Verb;
  resource: typeof FLOWS | typeof PAYLOADS;
}

function denied(why: string, missing: Scope, payloads: boolean): KtraceError {
  return new KtraceError('KTRACE_E_NOT_AUTHORIZED', `Not authorized: ${why}`, {
    hint: `An administrator can grant it: ${grantLine(missing, 'NAME', payloads)}`,
  });
}

function missingOf(allowed: Scope, needed: Scope): Scope {
  return needed === 'all' || allowed === 'all' ? needed : new Set([...needed].filter((namespace) => !allowed.has(namespace)));
}

function reasonOf({ verb, resource }: Right, viewers: readonly Reviewed[], allowed: Scope, needed: Scope): string {
  const who = viewers.map(({ username }) => username).join(', ');
  const missing = missingOf(allowed, needed);
  const where = missing === 'all' ? 'in all namespaces' : `in namespace ${[...missing].join(', ')}`;
  return `${who} may not ${verb} ${resource}.${ACCESS_GROUP} ${where}`;
}

function isViewerAccount(username: string): boolean {
  if (!username.startsWith('system:serviceaccount:')) return false;
  return [VIEWER_ACCOUNT, PAYLOAD_VIEWER_ACCOUNT].some((account) => username.endsWith(`:${account}`));
}

async function anyOf(answers: Promise<boolean>[]): Promise<boolean> {
  return (await Promise.all(answers)).includes(true);
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

/** When a JWT for our audience says that it ends, in Unix milliseconds; whether that is true is TokenReview's to say. Undefined for anything else. */
function expiryOfOurs(token: string): number | undefined {
  const { aud, exp } = claimsOf(token) ?? {};
  const isForUs = Array.isArray(aud) ? aud.includes(AUDIENCE) : aud === AUDIENCE;
  return isForUs && typeof exp === 'number' ? exp * 1000 : undefined;
}

/** Whom a JWT says that it is of, unproven: a newer token of the same takes the older one's place. */
export function claimedSubject(token: string): string {
  const sub = claimsOf(token)?.['sub'];
  return typeof sub === 'string' ? sub : '';
}

function claimsOf(token: string): Record<string, unknown> | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

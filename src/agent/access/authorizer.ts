import { createHash } from 'node:crypto';
import {
  ACCESS_GROUP,
  AUDIENCE,
  FLOWS,
  intersection,
  neededScope,
  PAYLOAD_VIEWER_ACCOUNT,
  PAYLOADS,
  type Scope,
  VIEWER_ACCOUNT,
} from '../../access/scope.ts';
import type { Subscription } from '../../event/target.ts';
import type { Reviewed, Reviewer } from '../../kube/api/reviews.ts';
import type { IsSigned } from '../../kube/api/token-keys.ts';
import type { Counter } from '../../util/counter.ts';
import type { Logger } from '../../util/log.ts';
import { Answers } from './answers.ts';
import { DEFAULT_LIMITS } from './limits.ts';
import { askedTooOften, denied, type Finding, type Right, refusal, unavailable, undecided } from './refusals.ts';
import { type Standing, strongest } from './standing.ts';
import { TokenBucket } from './token-bucket.ts';

/** What a client was found to be and to be allowed. */
export interface Access {
  /** The accounts whose right it is, by name, in order; none where nobody asks. Whoever resumes a stream must be the same. */
  accounts: readonly string[];
  allowed: Scope;
  /** Of what they asked for they may see what is behind the headers. */
  payloads?: true;
}

/**
 * Decides what the owner of these tokens may see of a subscription.
 * @throws KtraceError KTRACE_E_NOT_AUTHORIZED when they may not see all that they ask for, KTRACE_E_AUTHORIZATION_UNAVAILABLE when
 * nobody can say at this moment, KTRACE_E_ASKED_TOO_OFTEN when the API server is not asked
 */
export type Authorize = (tokens: readonly string[], subscription: Subscription, verb?: Verb) => Promise<Access>;

/** `watch` is following, `get` is what was recorded. */
export type Verb = 'watch' | 'get';

/** Everybody may see everything: for debugging, and where a test is about something else. */
export const allowAll: Authorize = async () => ({ accounts: [], allowed: 'all', payloads: true });

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
/** Signatures that are checked, a second and at once: each takes up to 0.1 ms of the thread that reads the ring. Beyond that a token counts as unsigned. */
const SIGNATURE_CHECKS = { perSecond: 500, most: 500 };
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
 * @throws KtraceError KTRACE_E_AUTHORIZATION_UNAVAILABLE, KTRACE_E_ASKED_TOO_OFTEN
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
  const signatureChecks = new TokenBucket(SIGNATURE_CHECKS.perSecond, SIGNATURE_CHECKS.most, nowMs);
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
      if (!wasGood) pay(signatureChecks.take() && isSigned(token) ? signedReviews : otherReviews);
      counts.tokens += 1;
      return reviewer.token(token, AUDIENCE);
    };
    const keepMs = (who: Reviewed | undefined) =>
      who === undefined ? KEEP_DENIED_MS : Math.min(mostKeptMs, Math.max(0, expiresMs - unixMs()));
    return tokens.get(hashOf(token), ask, keepMs);
  }

  async function viewersOf(given: readonly string[], failures: unknown[]): Promise<Viewers> {
    const asked = await Promise.allSettled(given.map(reviewToken));
    const known: Viewer[] = [];
    let isAnyRefused = false;
    for (const [at, one] of asked.entries()) {
      const isSure = one.status === 'fulfilled';
      if (!isSure) failures.push(one.reason);
      const who = isSure ? one.value : await tokens.lastGood(hashOf(given[at] ?? ''));
      if (who !== undefined) known.push({ who, isSure });
      else if (isSure) isAnyRefused = true;
    }
    const unanswered = failures.length > 0 ? 'unknown' : undefined;
    return { known, rest: isAnyRefused ? 'no' : unanswered };
  }

  async function may(
    { verb, resource }: Right,
    { who, isSure }: Viewer,
    namespace: string | undefined,
    failures: unknown[],
  ): Promise<Standing> {
    const what = { verb, group: ACCESS_GROUP, resource, ...(namespace === undefined ? {} : { namespace }) };
    const key = hashOf(JSON.stringify([verb, resource, who.username, who.uid, who.groups, who.extra, namespace ?? '']));
    const ask = (wasGood: boolean): Promise<boolean> => {
      if (!wasGood) pay(accessReviews);
      counts.accesses += 1;
      return reviewer.access(who, what);
    };
    try {
      const isAllowed = await rights.get(key, ask, (answer) => (answer ? mostKeptMs : KEEP_DENIED_MS));
      if (!isAllowed) return 'no';
      return isSure ? 'yes' : 'before';
    } catch (error) {
      failures.push(error);
      return rights.lastGood(key) === undefined ? 'unknown' : 'before';
    }
  }

  async function find(right: Right, { known, rest }: Viewers, needed: Scope, failures: unknown[]): Promise<Finding> {
    const ask = async (viewers: readonly Viewer[], namespace?: string): Promise<Answer> => {
      const standings = await Promise.all(viewers.map((viewer) => may(right, viewer, namespace, failures)));
      const by = viewers.filter((_, at) => standings[at] === 'yes').map(({ who }) => who.username);
      return { standing: strongest(rest === undefined ? standings : [rest, ...standings]), by };
    };
    // A namespace's own account sees that namespace; nobody need ask whether it sees all.
    const general = known.filter(({ who }) => !isViewerAccount(who.username));
    const namespaces = needed === 'all' ? [] : [...needed];
    const [all, ...each] = await Promise.all([
      ask(general),
      ...namespaces.map((namespace) => {
        const own = known.filter(({ who }) => who.username.startsWith(`system:serviceaccount:${namespace}:`));
        return ask(own.length > 0 ? own : general, namespace);
      }),
    ]);
    if (all.standing === 'yes') return { right, allowed: 'all', by: all.by, missing: [] };
    if (needed === 'all') return { right, allowed: new Set(), by: [], missing: [all.standing] };
    const standings = each.map(({ standing }) => standing);
    return {
      right,
      allowed: new Set(namespaces.filter((_, at) => standings[at] === 'yes')),
      by: each.flatMap(({ by }) => by),
      missing: standings.filter((one) => one !== 'yes').map((one) => (all.standing === 'before' ? all.standing : one)),
    };
  }

  const authorize: Authorize = async (given, { targets, snapBytes }, verb = 'watch') => {
    const needed = neededScope(targets);
    const payloads = snapBytes !== undefined;
    if (given.length === 0) throw denied('no token was given', needed, payloads);
    const failures: unknown[] = [];
    const viewers = await viewersOf(given, failures);
    if (viewers.known.length === 0 && viewers.rest === 'no')
      throw denied(`the token is not valid (expired, withdrawn or not for ${AUDIENCE})`, needed, payloads);
    const asked: Right[] = [{ verb, resource: FLOWS }, ...(payloads ? [{ verb: 'get', resource: PAYLOADS } as const] : [])];
    const found = await Promise.all(asked.map((right) => find(right, viewers, needed, failures)));
    const refused = found.find(({ missing }) => missing.includes('no'));
    const names = viewers.known.map(({ who }) => who.username);
    if (refused !== undefined) throw refusal(refused, names, needed);
    const missing = found.flatMap((one) => one.missing);
    if (missing.length > 0) throw undecided(missing, failures, log);
    return {
      // Whoever gives no right here is left out: a client could bring as many of those as it likes.
      accounts: [...new Set(found.flatMap(({ by }) => by))].sort(),
      // Who may see all packets and some payloads sees with these some packets: no address that a client names brings others along.
      allowed: found.map(({ allowed }) => allowed).reduce(intersection),
      ...(payloads ? { payloads } : {}),
    };
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

interface Viewer {
  who: Reviewed;
  /** The API server says so now; else it did when it last could. */
  isSure: boolean;
}

interface Viewers {
  known: Viewer[];
  /** What the tokens of nobody known give: no right, or one that cannot be asked for. Undefined when each token is somebody's. */
  rest: Standing | undefined;
}

interface Answer {
  standing: Standing;
  /** The accounts whose answer is yes. */
  by: string[];
}

function isViewerAccount(username: string): boolean {
  if (!username.startsWith('system:serviceaccount:')) return false;
  return [VIEWER_ACCOUNT, PAYLOAD_VIEWER_ACCOUNT].some((account) => username.endsWith(`:${account}`));
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

import { covers, neededScope } from '../../access/scope.ts';
import type { Subscription } from '../../event/target.ts';
import { KtraceError } from '../../util/errors.ts';
import { type Access, type Authorize, claimedSubject, type Verb, type Vouch } from '../access/authorizer.ts';
import { TokenBucket } from '../access/token-bucket.ts';

/** A client has a token for each namespace that it follows. */
const MAX_TOKENS = 32;
/** Each may cost a review by the API server. Clients renew their tokens every few minutes. */
const TOKENS_PER_SECOND = 1;

/** What is followed or read on a connection, and by which right. */
export interface Granted {
  subscription: Subscription;
  verb: Verb;
  access: Access;
  /** When this was last found to be so. */
  atMs: number;
}

export interface ClientRightsOptions {
  authorize: Authorize;
  vouch: Vouch;
  /** Authorization is off: no token is needed. */
  isOpenToAll: boolean;
  /** A client that was authorized keeps its access for so long while the API server cannot be asked. */
  graceMs: number;
  /** The client was found to be of these accounts. @throws KtraceError KTRACE_E_BUSY */
  admit(accounts: readonly string[]): void;
  /** Milliseconds of a clock that is never stepped. */
  nowMs(): number;
}

/** The tokens of a connection's client, and what it may do by them. Kept in memory only, until the connection ends. */
export class ClientRights {
  readonly #options: ClientRightsOptions;
  /** By the subject that each claims. */
  readonly #tokens = new Map<string, string>();
  /** Newer ones of the same, until the API server has said that they are good: what replaces a good token is not a worse one. */
  readonly #renewed = new Map<string, string>();
  readonly #taken: TokenBucket;
  #isVouched: boolean;

  constructor(options: ClientRightsOptions) {
    this.#options = options;
    this.#isVouched = options.isOpenToAll;
    this.#taken = new TokenBucket(TOKENS_PER_SECOND, 2 * MAX_TOKENS, options.nowMs);
  }

  /** One of the tokens was found good. */
  get isVouched(): boolean {
    return this.#isVouched;
  }

  /** Resolves when it is known whether the token is good, where none was before. @throws KtraceError KTRACE_E_PROTOCOL: too many */
  async take(token: string): Promise<void> {
    if (!this.#taken.take()) throw tooManyTokens();
    const subject = claimedSubject(token);
    if (this.#isVouched && this.#tokens.has(subject)) this.#renewed.set(subject, token);
    else this.#tokens.set(subject, token);
    if (this.#tokens.size > MAX_TOKENS) throw tooManyTokens();
    if (!this.#isVouched) this.#isVouched = await this.#options.vouch(token);
  }

  /** @throws KtraceError KTRACE_E_NOT_AUTHORIZED, KTRACE_E_AUTHORIZATION_UNAVAILABLE, KTRACE_E_BUSY */
  async decide(subscription: Subscription, verb: Verb): Promise<Access> {
    await this.#renew();
    const access = await this.#options.authorize([...this.#tokens.values()], subscription, verb);
    this.#options.admit(access.accounts);
    return access;
  }

  /** As {@link decide}; what was granted before stands for the time that the API server may be out of reach. */
  async grant(subscription: Subscription, verb: Verb, before: Granted | undefined): Promise<Granted> {
    const { graceMs, nowMs } = this.#options;
    const atMs = nowMs();
    try {
      return { subscription, verb, access: await this.decide(subscription, verb), atMs };
    } catch (error) {
      const isUnknown = error instanceof KtraceError && error.code === 'KTRACE_E_AUTHORIZATION_UNAVAILABLE';
      if (!isUnknown || before?.verb !== verb) throw error;
      const isInGrace = nowMs() - before.atMs < graceMs;
      if (!isInGrace || !covers(before.access.allowed, neededScope(subscription.targets))) throw error;
      if (subscription.snapBytes !== undefined && before.access.payloads !== true) throw error;
      return { ...before, subscription };
    }
  }

  forget(): void {
    this.#tokens.clear();
    this.#renewed.clear();
  }

  /** A newer token that nobody can be asked for now is tried again at the next decision. */
  async #renew(): Promise<void> {
    const newer = [...this.#renewed];
    const asked = await Promise.allSettled(newer.map(([, token]) => this.#options.vouch(token)));
    for (const [at, [subject, token]] of newer.entries()) {
      const answer = asked[at];
      if (answer?.status !== 'fulfilled' || this.#renewed.get(subject) !== token) continue;
      this.#renewed.delete(subject);
      if (answer.value) this.#tokens.set(subject, token);
    }
  }
}

function tooManyTokens(): KtraceError {
  return new KtraceError('KTRACE_E_PROTOCOL', `Expected tokens of at most ${MAX_TOKENS} owners, and new ones every few minutes`);
}

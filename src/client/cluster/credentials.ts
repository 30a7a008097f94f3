import {
  ADMIN_ACCOUNT,
  AUDIENCE,
  grantLine,
  neededScope,
  PAYLOAD_ADMIN_ACCOUNT,
  PAYLOAD_VIEWER_ACCOUNT,
  type Scope,
  VIEWER_ACCOUNT,
} from '../../access/scope.ts';
import type { Target } from '../../event/target.ts';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { type Api, ApiError } from './api.ts';

export interface CredentialsOptions {
  api: Api;
  targets: readonly Target[];
  ktraceNamespace: string;
  /** What is behind the headers is asked for, too. */
  payloads?: boolean;
  /** Unix milliseconds. */
  now?: () => number;
  /** Pause between attempts to renew that fail. */
  retryMs?: number;
}

/** The shortest time that an API server gives tokens for. */
const LIFETIME_S = 600;
const RETRY_MS = 10_000;
/** A token is renewed when so much of its time has passed, and not used when less than this is left. */
const RENEW_AT = 0.6;
const LEAST_LEFT_MS = 30_000;

interface Minted {
  token: string;
  expiresMs: number;
}

/**
 * What tells the agents who asks: tokens for the audience `ktrace.dev`, minted by TokenRequest with the user's own rights for the
 * service accounts that see what is followed. The user's own credentials go to the API server only. Tokens are kept in memory only.
 */
export class Credentials {
  /** Called when there are new tokens to be told. */
  onRenewed: () => void = () => undefined;
  readonly #options: CredentialsOptions;
  readonly #needed: Scope;
  readonly #abort = new AbortController();
  #minted: Minted[] = [];
  #minting: Promise<void> | undefined;
  /** Where the user may mint no token. */
  #denied: Scope | undefined;
  /** The API server said so, and not only that there is no such account. */
  #isForbidden = false;
  #hasMinted = false;
  /** The user may not see everything: that is asked once, not at every renewal. */
  #isGeneralDenied = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CredentialsOptions) {
    this.#options = options;
    this.#needed = neededScope(options.targets);
  }

  tokens(): readonly string[] {
    return this.#minted.map(({ token }) => token);
  }

  /** Resolves when the tokens are good for a while. Who may have none goes on without: the agents decide. */
  async fresh(): Promise<void> {
    const leastMs = this.#now() + LEAST_LEFT_MS;
    if (this.#hasMinted && this.#minted.every(({ expiresMs }) => expiresMs > leastMs)) return;
    await this.#mintAll();
  }

  /** A refusal, with the command line that would help this very user. Other errors are given back as they are. */
  async explain(error: unknown): Promise<unknown> {
    if (!(error instanceof KtraceError) || error.exitCode !== EXIT.notAuthorized || error.code === 'KTRACE_E_API_UNAUTHORIZED')
      return error;
    await this.#minting?.catch(() => undefined);
    const missing = this.#denied ?? this.#needed;
    const user = (await this.#userName()) ?? 'NAME';
    const where = missing === 'all' ? 'everything' : `namespace ${[...missing].join(', ')}`;
    const { payloads = false } = this.#options;
    const what = payloads ? `the payloads of ${where}` : where;
    // Who may mint no token may often not reach the agents either: that is one thing to be told, not two.
    const isOurs = this.#denied !== undefined && (this.#isForbidden || error.code === 'KTRACE_E_NOT_AUTHORIZED');
    const [code, message] = isOurs
      ? (['KTRACE_E_NOT_AUTHORIZED', `${user} may not see ${what} with ktrace`] as const)
      : [error.code, error.message];
    return new KtraceError(code, message, {
      cause: error,
      hint: `An administrator can grant it: ${grantLine(missing, user, payloads)}`,
      exitCode: EXIT.notAuthorized,
    });
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#minted = [];
  }

  /** Once at a time. */
  #mintAll(): Promise<void> {
    this.#minting ??= this.#mintOnce().finally(() => {
      this.#minting = undefined;
    });
    return this.#minting;
  }

  async #mintOnce(): Promise<void> {
    const { ktraceNamespace } = this.#options;
    const namespaces = this.#needed === 'all' ? [] : [...this.#needed];
    // All at once: who may see everything is told the names of both ends, and needs nothing else.
    const [general, own] = this.#options.payloads
      ? [PAYLOAD_ADMIN_ACCOUNT, PAYLOAD_VIEWER_ACCOUNT]
      : [ADMIN_ACCOUNT, VIEWER_ACCOUNT];
    const [admin, ...viewers] = await Promise.all([
      this.#isGeneralDenied ? undefined : this.#mint(ktraceNamespace, general),
      ...namespaces.map((namespace) => this.#mint(namespace, own)),
    ]);
    if (this.#abort.signal.aborted) return;
    this.#isGeneralDenied = admin === undefined;
    const denied = namespaces.filter((_, index) => viewers[index] === undefined);
    this.#minted = admin === undefined ? viewers.filter((one) => one !== undefined) : [admin];
    this.#denied = admin !== undefined || (this.#needed !== 'all' && denied.length === 0) ? undefined : this.#needed;
    if (this.#denied !== undefined && denied.length > 0) this.#denied = new Set(denied);
    this.#hasMinted = true;
    this.#renewLater();
  }

  /** Undefined when the user may not, or the account is not there. */
  async #mint(namespace: string, account: string): Promise<Minted | undefined> {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/serviceaccounts/${account}/token`;
    const request = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { audiences: [AUDIENCE], expirationSeconds: LIFETIME_S },
    };
    try {
      const { status } = (await this.#options.api.send('POST', path, request, this.#abort.signal)) as {
        status?: { token?: unknown; expirationTimestamp?: unknown };
      };
      const expiresMs = Date.parse(String(status?.expirationTimestamp));
      if (typeof status?.token !== 'string' || Number.isNaN(expiresMs))
        throw new KtraceError('KTRACE_E_API', 'The API server answered a TokenRequest without a token');
      return { token: status.token, expiresMs };
    } catch (error) {
      if (this.#abort.signal.aborted) return undefined;
      // Any other answer, such as one of a server that has too much to do, says nothing of the user's rights.
      if (!(error instanceof ApiError) || (error.status !== 403 && error.status !== 404)) throw error;
      if (error.status === 403) this.#isForbidden = true;
      return undefined;
    }
  }

  #renewLater(): void {
    clearTimeout(this.#timer);
    if (this.#minted.length === 0) return;
    const leftMs = Math.min(...this.#minted.map(({ expiresMs }) => expiresMs)) - this.#now();
    this.#timer = setTimeout(() => void this.#renew(), Math.max(1000, leftMs * RENEW_AT)).unref();
  }

  /** An API server that is away for a moment is asked again; whether who follows may stay is the agents' to say. */
  async #renew(): Promise<void> {
    try {
      await this.#mintAll();
      this.onRenewed();
    } catch {
      this.#timer = setTimeout(() => void this.#renew(), this.#options.retryMs ?? RETRY_MS).unref();
    }
  }

  /** As the API server knows the user, whatever they log in by. */
  async #userName(): Promise<string | undefined> {
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
    try {
      const { status } = (await this.#options.api.send('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', request)) as {
        status?: { userInfo?: { username?: unknown } };
      };
      const name = status?.userInfo?.username;
      return typeof name === 'string' && name !== '' ? name : undefined;
    } catch {
      return undefined;
    }
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }
}

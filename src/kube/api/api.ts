import type { IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { sendRequest } from '../../util/http.ts';

/**
 * What is needed of a `KubeConfig` of `@kubernetes/client-node`: where the cluster is, and what to say there. Whoever has
 * a kubeconfig loads that package; here it is not, because even what of it reads kubeconfigs takes 33 MB of memory that an agent does not have to spare.
 */
export interface KubeAccess {
  getCurrentCluster(): { server: string } | null;
  /** Fills in certificates, agent and the headers with the current token. */
  applyToHTTPSOptions(options: RequestOptions): Promise<void>;
}

/** An answer whose body has not been read. */
export interface ApiResponse {
  status: number;
  /** Seconds, as `Retry-After` says. */
  retryAfterS: number | undefined;
  body: IncomingMessage;
}

/** The second is what the keys of tokens are sent as: the API server refuses a request for them that does not name it, with 406. */
const ACCEPTED = 'application/json, application/jwk-set+json';

/** A failed request, with the HTTP status where there was an answer. */
export class RequestError extends Error {
  readonly status: number | undefined;
  readonly retryAfterS: number | undefined;

  constructor(message: string, status?: number, retryAfterS?: number) {
    super(message);
    this.name = 'RequestError';
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** Requests to one API server. */
export interface Api {
  /**
   * GET; resolves with the head of the answer.
   * @param timeoutMs how long the server may be silent before the head of its answer
   */
  get(path: string, query: Record<string, string>, signal: AbortSignal, timeoutMs: number): Promise<ApiResponse>;
  /** POST of a JSON body; as {@link get} otherwise. */
  post(path: string, body: unknown, signal: AbortSignal, timeoutMs: number): Promise<ApiResponse>;
}

/**
 * The API server that a kubeconfig's current context names.
 * @throws KtraceError KTRACE_E_KUBECONFIG without a cluster, or with one whose address is none
 */
export function openApi(access: KubeAccess): Api {
  const server = access.getCurrentCluster()?.server;
  if (server === undefined || !URL.canParse(server) || !/^https?:/.test(server)) {
    throw new KtraceError(
      'KTRACE_E_KUBECONFIG',
      `Expected the address of an API server in the kubeconfig, got ${server ?? 'none'}`,
      {
        hint: 'See which context is in use: kubectl config current-context',
      },
    );
  }
  const base = server.replace(/\/$/, '');
  return {
    get: (path, query, signal, timeoutMs) =>
      send(access, new URL(`${base}${path}?${new URLSearchParams(query)}`), undefined, signal, timeoutMs),
    post: (path, body, signal, timeoutMs) => send(access, new URL(`${base}${path}`), JSON.stringify(body), signal, timeoutMs),
  };
}

/** GET, or POST where there is something to send. */
async function send(
  access: KubeAccess,
  url: URL,
  sent: string | undefined,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<ApiResponse> {
  const options: RequestOptions = { method: sent === undefined ? 'GET' : 'POST' };
  await access.applyToHTTPSOptions(options);
  const type = sent === undefined ? {} : { 'content-type': 'application/json' };
  // Lists of a large cluster come to a hundred megabytes, and to a tenth of that compressed. Watches are never compressed.
  const packed = sent === undefined && !url.searchParams.has('watch') ? { 'accept-encoding': 'gzip' } : {};
  options.headers = { ...options.headers, ...type, ...packed, accept: ACCEPTED, 'user-agent': 'ktrace' };
  signal.throwIfAborted();
  const body = await sendRequest(url, { ...options, signal }, sent, timeoutMs).catch((cause: unknown) => {
    throw new RequestError(messageOf(cause) || 'the connection to the API server failed');
  });
  // A connection whose other side has gone away is found out by the kernel's probes, too.
  body.socket.setKeepAlive(true, 15_000);
  const retryAfter = Number(body.headers['retry-after']);
  return { status: body.statusCode ?? 0, retryAfterS: retryAfter > 0 ? retryAfter : undefined, body };
}

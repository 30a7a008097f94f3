import { STREAM_PATH, SUBPROTOCOL } from './constants.ts';

/** The head of an HTTP request; header names in lower case. */
export interface RequestHead {
  method?: string | undefined;
  url?: string | undefined;
  headers: Record<string, string | string[] | undefined>;
}

/** Why an HTTP request is not served: the status, and the JSON body that says it. */
export interface Rejection {
  status: number;
  code: `KTRACE_E_${string}`;
  message: string;
  hint?: string;
}

/**
 * Judges a request for the websocket; undefined when it may be upgraded. Agent and gate judge alike.
 * A request with `Origin` comes from a web page: no page has any business here, so none is let in.
 */
export function refuseUpgrade(request: RequestHead): Rejection | undefined {
  const refused = refuseRequest(request, [STREAM_PATH]);
  if (refused) return refused;
  if (header(request, 'upgrade')?.toLowerCase() !== 'websocket') return upgradeRequired();
  const offered = (header(request, 'sec-websocket-protocol') ?? '').split(',').map((part) => part.trim());
  if (offered.includes(SUBPROTOCOL)) return undefined;
  return {
    status: 400,
    code: 'KTRACE_E_SUBPROTOCOL',
    message: `Expected the websocket subprotocol ${SUBPROTOCOL}`,
    hint: 'Use a client whose version matches the agents.',
  };
}

/** Judges a plain request: GET (or HEAD) of one of `paths`, without `Origin`; undefined when it may be served. */
export function refuseRequest(request: RequestHead, paths: readonly string[]): Rejection | undefined {
  if (request.headers['origin'] !== undefined) {
    return { status: 403, code: 'KTRACE_E_ORIGIN', message: 'Requests of web pages (with an Origin header) are not served' };
  }
  if (!paths.includes(request.url ?? '')) {
    return { status: 404, code: 'KTRACE_E_HTTP', message: `Expected one of the paths ${paths.join(', ')}` };
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { status: 405, code: 'KTRACE_E_HTTP', message: 'Expected the method GET' };
  }
  return undefined;
}

/** The answer to a plain GET of the websocket's path. */
export function upgradeRequired(): Rejection {
  return { status: 426, code: 'KTRACE_E_HTTP', message: `Expected a websocket upgrade with the subprotocol ${SUBPROTOCOL}` };
}

/** The JSON body of a rejection. */
export function rejectionBody({ code, message, hint }: Rejection): string {
  return `${JSON.stringify({ code, message, ...(hint === undefined ? {} : { hint }) })}\n`;
}

/** A whole HTTP/1.1 answer, for a socket that has left the HTTP server's hands (an upgrade). */
export function rejectionResponse(rejection: Rejection): string {
  const body = rejectionBody(rejection);
  return [
    `HTTP/1.1 ${rejection.status} ${REASONS[rejection.status] ?? 'Refused'}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}

function header(request: RequestHead, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

const REASONS: Record<number, string> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  426: 'Upgrade Required',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

import { type IncomingMessage, request as requestHttp, type Server, type ServerOptions } from 'node:http';
import { type RequestOptions, request as requestHttps } from 'node:https';
import type { Socket } from 'node:net';

/**
 * Sends a request; resolves with the head of the answer, whose body is still to be read. Rejects with the socket's error, with the signal's reason, and
 * where the server is silent for longer than `silentMs` before the head of its answer.
 * @param sent the body
 */
export function sendRequest(url: URL, options: RequestOptions, sent?: string, silentMs?: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'http:' ? requestHttp : requestHttps)(url, options);
    const silence = (): void => void request.destroy(new Error(`no answer from ${url.host} within ${silentMs} ms`));
    const timer = silentMs === undefined ? undefined : setTimeout(silence, silentMs);
    request.on('close', () => clearTimeout(timer));
    request.on('response', (response) => {
      clearTimeout(timer);
      resolve(response);
    });
    request.on('error', reject);
    // Node frames the body of a DELETE by itself neither way.
    if (sent !== undefined) request.setHeader('content-length', Buffer.byteLength(sent));
    request.end(sent);
  });
}

/** The body of an answer as text; rejects where it is longer than this many bytes, or breaks off. */
export async function bodyText(response: IncomingMessage, mostBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw new Error('the answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const TOO_SLOW = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n';

/**
 * A server's options to go with {@link cutSlowHeads}. Node looks for who is slow each so often, whether anybody is connected or not: an idle process that
 * wakes takes a core for milliseconds. Its look is for what a timer of each connection does not see.
 */
export const headLimits = (headMs: number): ServerOptions => ({
  headersTimeout: headMs,
  requestTimeout: headMs,
  connectionsCheckingInterval: 60_000,
});

/**
 * Cuts connections to a server of one request each whose request's head has not arrived within this. Gives what is to be called with the socket of each
 * request that has arrived.
 */
export function cutSlowHeads(server: Server, headMs: number): (socket: Socket) => void {
  const timers = new WeakMap<Socket, NodeJS.Timeout>();
  const arrived = (socket: Socket): void => clearTimeout(timers.get(socket));
  server.on('connection', (socket) => {
    timers.set(
      socket,
      setTimeout(() => socket.end(TOO_SLOW, () => socket.destroy()), headMs),
    );
    socket.once('close', () => arrived(socket));
  });
  return arrived;
}

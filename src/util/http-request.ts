import { type IncomingMessage, request as requestHttp } from 'node:http';
import { type RequestOptions, request as requestHttps } from 'node:https';

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

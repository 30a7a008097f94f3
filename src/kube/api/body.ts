import type { IncomingMessage } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { RequestError } from './api.ts';

/** No page of a list and no line of a watch is longer. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;
const MAX_LINE_CHARS = 16 * 1024 * 1024;
const unpack = promisify(gunzip);

/**
 * The whole body as JSON, unpacked where it is gzip.
 * @param idleMs how long the server may be silent in between
 * @throws RequestError when it breaks off, is silent too long, too long itself, or no JSON
 */
export async function readJson(body: IncomingMessage, idleMs: number): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of withIdle(body, idleMs)) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new RequestError(`an answer of more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  const whole = Buffer.concat(chunks, size);
  try {
    const isPacked = body.headers['content-encoding'] === 'gzip';
    return JSON.parse((isPacked ? await unpack(whole, { maxOutputLength: MAX_BODY_BYTES }) : whole).toString('utf8'));
  } catch {
    throw new RequestError('an answer that is not JSON');
  }
}

/** The lines of a body as they come; an incomplete last one is left out. Throws as {@link readJson} does. */
export async function* readLines(body: IncomingMessage, idleMs: number): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  for await (const chunk of withIdle(body, idleMs)) {
    rest += decoder.write(chunk);
    let start = 0;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', start)) {
      if (end > start) yield rest.slice(start, end);
      start = end + 1;
    }
    rest = rest.slice(start);
    if (rest.length > MAX_LINE_CHARS) throw new RequestError(`a line of more than ${MAX_LINE_CHARS} characters`);
  }
}

async function* withIdle(body: IncomingMessage, idleMs: number): AsyncGenerator<Buffer> {
  const timer = setTimeout(() => body.destroy(new RequestError(`nothing from the API server for ${idleMs} ms`)), idleMs);
  try {
    for await (const chunk of body) {
      timer.refresh();
      yield chunk as Buffer;
    }
  } catch (cause) {
    throw cause instanceof RequestError ? cause : new RequestError('the connection to the API server broke');
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
}

import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { messageOf } from '../util/errors.ts';
import { rememberedLookup } from './lookup.ts';
import type { OtlpSettings } from './settings.ts';

/** What became of a request. */
export type Outcome =
  /** The collector has it; `rejected` log records it did not want. */
  | { kind: 'accepted'; rejected: number; message: string }
  /** It shall not be sent again. */
  | { kind: 'refused'; message: string }
  /** It may be sent again, not before `afterMs` where the collector says so. */
  | { kind: 'failed'; message: string; afterMs: number | undefined };

export type Send = (body: string, signal: AbortSignal) => Promise<Outcome>;

export interface Sender {
  send: Send;
  close(): void;
}

/** As the specification of OTLP/HTTP has it; any other answer but 2xx is final. */
const RETRYABLE = new Set([429, 502, 503, 504]);
const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_MESSAGE = 200;
const compress = promisify(gzip);

/**
 * Sends `ExportLogsServiceRequest`s in JSON over one connection that is kept.
 * @param onAddress is told every address that the collector's name stands for, before it is connected to
 */
export function createSender(settings: OtlpSettings, version: string, onAddress: (ip: string) => void): Sender {
  const { url, timeoutMs } = settings;
  const isTls = url.protocol === 'https:';
  const names = rememberedLookup(onAddress);
  const options = { keepAlive: true, maxSockets: 1, lookup: names.lookup };
  const tls = { ca: settings.ca, cert: settings.clientCertificate, key: settings.clientKey };
  const agent = isTls ? new HttpsAgent({ ...options, ...tls }) : new HttpAgent(options);
  const headers = {
    'User-Agent': `ktrace/${version}`,
    ...settings.headers,
    'Content-Type': 'application/json',
    ...(settings.compression === 'gzip' ? { 'Content-Encoding': 'gzip' } : {}),
  };
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isAddress(host)) onAddress(host);

  async function send(text: string, signal: AbortSignal): Promise<Outcome> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    try {
      // A fast level: JSON of the like shrinks to a tenth by it already.
      const body = settings.compression === 'gzip' ? await compress(text, { level: 1 }) : Buffer.from(text);
      const request = (isTls ? httpsRequest : httpRequest)(url, {
        method: 'POST',
        agent,
        signal: limit,
        headers: { ...headers, 'Content-Length': body.length },
      });
      return outcomeOf(await answerTo(request, body));
    } catch (error) {
      names.forget();
      return {
        kind: 'failed',
        message: limit.aborted && !signal.aborted ? `no answer within ${timeoutMs} ms` : why(error),
        afterMs: undefined,
      };
    }
  }
  return { send, close: () => agent.destroy() };
}

interface Answer {
  status: number;
  retryAfter: string | undefined;
  text: string;
}

function answerTo(request: ClientRequest, body: Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response: IncomingMessage) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      response.on('data', (part: Buffer) => {
        bytes += part.length;
        if (bytes <= MAX_ANSWER_BYTES) parts.push(part);
        // Whoever answers without end is not read to it.
        else request.destroy(new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`));
      });
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode, headers } = response;
        resolve({ status: statusCode ?? 0, retryAfter: headers['retry-after'], text: Buffer.concat(parts).toString('utf8') });
      });
    });
    request.end(body);
  });
}

function outcomeOf({ status, retryAfter, text }: Answer): Outcome {
  if (status >= 200 && status < 300) return acceptedOf(text);
  const message = `HTTP ${status}${said(text)}`;
  if (RETRYABLE.has(status)) return { kind: 'failed', message, afterMs: retryAfterMs(retryAfter, Date.now()) };
  return { kind: 'refused', message };
}

/** An answer that cannot be read says no more than its status. */
function acceptedOf(text: string): Outcome {
  const partial = field(parsed(text), 'partialSuccess');
  const rejected = Number(field(partial, 'rejectedLogRecords') ?? 0);
  const message = field(partial, 'errorMessage');
  return {
    kind: 'accepted',
    rejected: Number.isSafeInteger(rejected) && rejected > 0 ? rejected : 0,
    message: typeof message === 'string' ? message.slice(0, MAX_MESSAGE) : '',
  };
}

/** The message of a `Status`, or the beginning of whatever came. */
function said(text: string): string {
  const message = field(parsed(text), 'message') ?? text.trim();
  return typeof message === 'string' && message !== '' ? `: ${message.slice(0, MAX_MESSAGE)}` : '';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** RFC 9110 section 10.2.3: seconds or a date. */
export function retryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const atMs = Date.parse(value);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}

/** Connection errors to several addresses come as one without a message of its own. */
function why(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ').slice(0, MAX_MESSAGE);
  return messageOf(error).slice(0, MAX_MESSAGE);
}

function isAddress(host: string): boolean {
  return host.includes(':') || /^\d+(\.\d+){3}$/.test(host);
}

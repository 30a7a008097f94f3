import { createPublicKey, type JsonWebKey, type KeyObject, verify } from 'node:crypto';
import { type Api, RequestError } from './api.ts';
import { readJson } from './body.ts';
import { listAt, textAt } from './raw.ts';

/** Where the API server has the public keys of service accounts' tokens (JWKS, RFC 7517). Every service account may read it, unless that was changed. */
const PATH = '/openid/v1/jwks';
/** A key that is not known is looked for so often at most: anybody can name one. */
const READ_INTERVAL_MS = 10_000;
/** Of those that may sign (RFC 7518); the key itself says whether it is one for RSA or ECDSA. */
const HASHES: Record<string, string> = {
  RS256: 'sha256',
  RS384: 'sha384',
  RS512: 'sha512',
  ES256: 'sha256',
  ES384: 'sha384',
  ES512: 'sha512',
};

export interface TokenKeysOptions {
  api: Api;
  signal: AbortSignal;
  timeoutMs: number;
  /** Milliseconds of a clock that is never stepped. */
  nowMs(): number;
  /** They cannot be read; said once, and again when they could be read in between. */
  onFailure(error: unknown): void;
}

/**
 * Whether the API server has signed a token. That alone proves nothing: it may have ended or been withdrawn. False also when the keys are not known
 * (yet): they are read when a token names one that is not among them.
 */
export type IsSigned = (token: string) => boolean;

export function openTokenKeys({ api, signal, timeoutMs, nowMs, onFailure }: TokenKeysOptions): IsSigned {
  let keys = new Map<string, KeyObject>();
  let readMs = Number.NEGATIVE_INFINITY;
  let hasFailed = false;

  async function read(): Promise<void> {
    readMs = nowMs();
    try {
      const { status, body } = await api.get(PATH, {}, signal, timeoutMs);
      const answer = await readJson(body, timeoutMs);
      if (status !== 200) throw new RequestError(textAt(answer, 'message') ?? `HTTP status ${status}`, status);
      keys = keysOf(answer);
      hasFailed = false;
    } catch (error) {
      if (!hasFailed) onFailure(error);
      hasFailed = true;
    }
  }

  return (token) => {
    const [head = '', claims = '', signature = '', ...more] = token.split('.');
    const { alg, kid } = headerOf(head);
    const key = keys.get(kid ?? '');
    const hash = HASHES[alg ?? ''];
    if (key === undefined && kid !== undefined && nowMs() - readMs >= READ_INTERVAL_MS) void read();
    if (key === undefined || hash === undefined || more.length > 0) return false;
    return isSignature(hash, `${head}.${claims}`, key, signature);
  };
}

function isSignature(hash: string, signed: string, key: KeyObject, signature: string): boolean {
  try {
    const bytes = Buffer.from(signature, 'base64url');
    // The decoder takes what the API server does not: else one token could be written in any number of ways.
    if (bytes.toString('base64url') !== signature) return false;
    return verify(hash, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }, bytes);
  } catch {
    // Of a length that fits to no such key.
    return false;
  }
}

function keysOf(answer: unknown): Map<string, KeyObject> {
  const keys = new Map<string, KeyObject>();
  for (const jwk of listAt(answer, 'keys')) {
    const kid = textAt(jwk, 'kid');
    const key = keyOf(jwk);
    if (kid !== undefined && key !== undefined) keys.set(kid, key);
  }
  return keys;
}

/** Undefined for a kind of key that this Node does not know. */
function keyOf(jwk: unknown): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
  } catch {
    return undefined;
  }
}

function headerOf(head: string): { alg?: string | undefined; kid?: string | undefined } {
  try {
    const header: unknown = JSON.parse(Buffer.from(head, 'base64url').toString('utf8'));
    return { alg: textAt(header, 'alg'), kid: textAt(header, 'kid') };
  } catch {
    return {};
  }
}

import { createHash, createPublicKey, type JsonWebKey, randomUUID, sign, verify } from 'node:crypto';
import type { ApiObject, Resource } from '../../plan/types.ts';
import { invalid } from '../objects/status.ts';
import { findResource, type Store } from '../objects/store.ts';
import type { User } from './user.ts';

interface Claims {
  aud: string[];
  exp: number;
  iat: number;
  /** Of this token alone. */
  jti: string;
  sub: string;
  'kubernetes.io': { namespace: string; serviceaccount: { name: string; uid: string } };
}

/** The least that the real server takes. */
const LEAST_SECONDS = 600;

/**
 * Answers a TokenRequest for a service account: a JWT for the audiences and the time that are asked for.
 *
 * @throws ApiError 422 for a time that is too short
 */
export function requestToken(key: string, account: ApiObject, body: unknown, audience: string, now = Date.now()): object {
  const request = (body ?? {}) as { spec?: { audiences?: string[]; expirationSeconds?: number } };
  const seconds = request.spec?.expirationSeconds ?? 3600;
  if (seconds < LEAST_SECONDS) {
    const about = { group: 'authentication.k8s.io', kind: 'TokenRequest', name: '' };
    const text = 'may not specify a duration less than 10 minutes';
    throw invalid(about, { field: 'spec.expirationSeconds', reason: 'Invalid', value: seconds, text });
  }
  const asked = request.spec?.audiences ?? [];
  const audiences = asked.length > 0 ? asked : [audience];
  const { token, exp } = signAccountToken(key, account, audiences, seconds, now);
  const expirationTimestamp = `${new Date(exp * 1000).toISOString().slice(0, 19)}Z`;
  const { name, namespace, uid } = account.metadata;
  return {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name, namespace, uid, creationTimestamp: `${new Date(now).toISOString().slice(0, 19)}Z` },
    spec: { audiences, expirationSeconds: seconds, boundObjectRef: null },
    status: { token, expirationTimestamp },
  };
}

/** A token as the server signs it, also with a time that it would not give. */
export function signAccountToken(key: string, account: ApiObject, aud: string[], seconds: number, now = Date.now()) {
  const { namespace = '', name, uid = '' } = account.metadata;
  const iat = Math.floor(now / 1000);
  const claims: Claims = {
    aud,
    exp: iat + seconds,
    iat,
    jti: randomUUID(),
    sub: `system:serviceaccount:${namespace}:${name}`,
    'kubernetes.io': { namespace, serviceaccount: { name, uid } },
  };
  const text = `${encode({ alg: 'RS256', kid: keyId(key) })}.${encode(claims)}`;
  return { token: `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`, exp: claims.exp };
}

/** Whom a service account's token is of: undefined when it is forged, has ended, is for others, or the account is gone or another. */
export function verifyAccountToken(key: string, store: Store, token: string, audience: string): User | undefined {
  const [head = '', body = '', signed = ''] = token.split('.');
  const signature = Buffer.from(signed, 'base64url');
  if (!verify('sha256', Buffer.from(`${head}.${body}`), createPublicKey(key), signature)) return undefined;
  const { aud, exp, jti, sub, 'kubernetes.io': of } = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as Claims;
  if (exp * 1000 <= Date.now() || !aud.includes(audience)) return undefined;
  const accounts = store.list(findResource('/api/v1', 'serviceaccounts') as Resource, of.namespace);
  const { name, uid } = of.serviceaccount;
  if (!accounts.some(({ metadata }) => metadata.name === name && metadata.uid === uid)) return undefined;
  return {
    username: sub,
    uid,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${of.namespace}`],
    extra: { 'authentication.kubernetes.io/credential-id': [`JTI=${jti}`] },
  };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** What verifies them, as the server publishes it (JWKS). */
export function publicKeys(key: string): { keys: JsonWebKey[] } {
  const jwk = createPublicKey(key).export({ format: 'jwk' });
  return { keys: [{ use: 'sig', kid: keyId(key), alg: 'RS256', ...jwk }] };
}

function keyId(key: string): string {
  const der = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(der).digest('base64url');
}

import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { openApi } from '../../../src/kube/api/api.ts';
import { type IsSigned, openTokenKeys } from '../../../src/kube/api/token-keys.ts';
import { publicKeys, requestToken } from '../../../src/lab/api/auth/account-tokens.ts';
import { until } from '../../support/until.ts';

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwkOf = (key: KeyObject, kid: string) => ({ use: 'sig', kid, ...key.export({ format: 'jwk' }) });

function signed(header: object, key: KeyObject): string {
  const text = `${encode(header)}.${encode({ sub: 'a' })}`;
  return `${text}.${sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

const ofRsa = signed({ alg: 'RS256', kid: 'r' }, rsa.privateKey);

interface Served {
  isSigned: IsSigned;
  clock: { ms: number };
  asked: string[];
  answer: { status: number; body: unknown };
  failures: string[];
}

async function serve(t: TestContext, keys: object[]): Promise<Served> {
  const asked: string[] = [];
  const clock = { ms: 0 };
  const answer: Served['answer'] = { status: 200, body: { keys } };
  const failures: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(answer.status, { connection: 'close' }).end(JSON.stringify(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const isSigned = openTokenKeys({
    api: openApi({ getCurrentCluster: () => ({ server: url }), applyToHTTPSOptions: async () => undefined }),
    signal: new AbortController().signal,
    timeoutMs: 1000,
    nowMs: () => clock.ms,
    onFailure: (error) => failures.push((error as Error).message),
  });
  return { isSigned, clock, asked, answer, failures };
}

describe("the API server's keys", () => {
  it('are read when a token names one, and tell its tokens from forged ones', async (t) => {
    const { isSigned, asked } = await serve(t, [jwkOf(rsa.publicKey, 'r'), jwkOf(ec.publicKey, 'e'), { kid: 'odd', kty: 'ODD' }]);
    assert.equal(isSigned(ofRsa), false, 'no key is known yet');
    await until('the keys are read', () => isSigned(ofRsa));
    assert.deepEqual(new Set(asked.map((line) => line.replace(/\?$/, ''))), new Set(['GET /openid/v1/jwks']));
    assert.equal(isSigned(signed({ alg: 'ES256', kid: 'e' }, ec.privateKey)), true);
    const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    const [head, claims, signature] = ofRsa.split('.');
    const forged = {
      'another key': signed({ alg: 'RS256', kid: 'r' }, stranger),
      'other claims': `${head}.${encode({ sub: 'b' })}.${signature}`,
      'an algorithm of another kind of key': signed({ alg: 'ES256', kid: 'e' }, stranger),
      'no algorithm': `${encode({ alg: 'none', kid: 'r' })}.${claims}.`,
      'a shared secret': `${encode({ alg: 'HS256', kid: 'r' })}.${claims}.${signature}`,
      'no signature': `${head}.${claims}.`,
      'no token': 'rubbish',
      'a header that is none': `${encode([1])}.${claims}.${signature}`,
      nothing: '',
    };
    for (const [what, token] of Object.entries(forged)) assert.equal(isSigned(token), false, what);
  });

  it('take a token in one spelling alone', async (t) => {
    const { isSigned } = await serve(t, [jwkOf(rsa.publicKey, 'r')]);
    await until('the keys are read', () => isSigned(ofRsa));
    const spellings = [
      `${ofRsa}=`,
      `${ofRsa}!`,
      `${ofRsa}.x`,
      `${ofRsa}\n`,
      // Other bits that a decoder leaves out.
      ofRsa.replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1)),
    ];
    for (const token of spellings) assert.equal(isSigned(token), false, token.slice(-8));
  });

  it('are looked for again for one that is not known, but not for every token', async (t) => {
    const { isSigned, clock, asked, answer } = await serve(t, [jwkOf(rsa.publicKey, 'r')]);
    await until('the keys are read', () => isSigned(ofRsa));
    const ofEc = signed({ alg: 'ES256', kid: 'e' }, ec.privateKey);
    answer.body = { keys: [jwkOf(ec.publicKey, 'e')] };
    for (let i = 0; i < 100; i += 1) assert.equal(isSigned(ofEc), false);
    assert.equal(asked.length, 1);
    clock.ms += 10_000;
    await until('the keys are read again', () => isSigned(ofEc));
    assert.equal(asked.length, 2);
    assert.equal(isSigned(ofRsa), false, 'a key that is gone');
  });

  it('may not be readable: then no token is known to be signed, and why is said once', async (t) => {
    const { isSigned, clock, asked, answer, failures } = await serve(t, [jwkOf(rsa.publicKey, 'r')]);
    Object.assign(answer, { status: 403, body: { message: 'forbidden: cannot get path' } });
    for (let i = 0; i < 3; i += 1) {
      assert.equal(isSigned(ofRsa), false);
      await until('it was asked', () => asked.length === i + 1 && failures.length === 1);
      clock.ms += 10_000;
    }
    assert.deepEqual(failures, ['forbidden: cannot get path']);
    Object.assign(answer, { status: 200, body: { keys: [jwkOf(rsa.publicKey, 'r')] } });
    await until('they can be read after all', () => isSigned(ofRsa));
  });

  it("know a lab's tokens", async (t) => {
    const pem = String(rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const { isSigned } = await serve(t, publicKeys(pem).keys);
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'a', namespace: 'b', uid: 'u' } };
    const { status } = requestToken(pem, account, {}, 'ktrace.dev') as { status: { token: string } };
    await until('the keys are read', () => isSigned(status.token));
  });
});

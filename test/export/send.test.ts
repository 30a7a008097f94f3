import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createSender, type Outcome, retryAfterMs, type Sender } from '../../src/export/send.ts';
import type { OtlpSettings } from '../../src/export/settings.ts';
import { answer, silence, startReceiver } from './receiver.ts';

const BODY = '{"resourceLogs":[]}';

function senderTo(t: TestContext, url: string, changes: Partial<OtlpSettings> = {}): Sender & { addresses: string[] } {
  const settings: OtlpSettings = {
    url: new URL(`${url}/v1/logs`),
    headers: { authorization: 'Bearer s3cret' },
    compression: 'gzip',
    timeoutMs: 5000,
    ca: undefined,
    clientCertificate: undefined,
    clientKey: undefined,
    attributes: {},
    ...changes,
  };
  const addresses: string[] = [];
  const sender = createSender(settings, '1.2.3', (ip) => addresses.push(ip));
  t.after(() => sender.close());
  return { ...sender, addresses };
}

const sent = (sender: Sender): Promise<Outcome> => sender.send(BODY, new AbortController().signal);

/** What is sent again says so and why. */
async function failed(sender: Sender): Promise<string> {
  const outcome = await sent(sender);
  assert.equal(outcome.kind, 'failed', JSON.stringify(outcome));
  assert.doesNotMatch(outcome.message, /s3cret/);
  return outcome.message;
}

for (const compression of ['gzip', 'none'] as const) {
  test(`posts JSON to /v1/logs with the headers, compressed by ${compression}`, async (t) => {
    const { url, received } = await startReceiver(t);
    assert.deepEqual(await sent(senderTo(t, url, { compression })), { kind: 'accepted', rejected: 0, message: '' });
    const [one] = received;
    assert.deepEqual([one?.method, one?.path, one?.request], ['POST', '/v1/logs', { resourceLogs: [] }]);
    assert.equal(one?.headers['content-type'], 'application/json');
    assert.equal(one?.headers['content-encoding'], compression === 'gzip' ? 'gzip' : undefined);
    assert.equal(one?.headers['authorization'], 'Bearer s3cret');
    assert.equal(one?.headers['user-agent'], 'ktrace/1.2.3');
  });
}

test('one connection is used again', async (t) => {
  const { url, received } = await startReceiver(t);
  const sender = senderTo(t, url);
  for (let at = 0; at < 3; at += 1) await sent(sender);
  assert.equal(received.length, 3);
  assert.ok(received.every(({ headers }) => headers.connection === 'keep-alive'));
});

test('a partial success says how many were rejected and why', async (t) => {
  const body = '{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}';
  const { url } = await startReceiver(t, [answer(200, body), answer(200, 'no JSON'), answer(202, '{"partialSuccess":{}}')]);
  const sender = senderTo(t, url);
  assert.deepEqual(await sent(sender), { kind: 'accepted', rejected: 3, message: 'too old' });
  assert.deepEqual(await sent(sender), { kind: 'accepted', rejected: 0, message: '' });
  assert.deepEqual(await sent(sender), { kind: 'accepted', rejected: 0, message: '' });
});

test('429, 502, 503 and 504 are sent again, not before the time the collector says', async (t) => {
  const { url } = await startReceiver(t, [
    answer(429, '{"message":"slow down"}', { 'Retry-After': '7' }),
    answer(502),
    answer(503, '', { 'Retry-After': 'soon' }),
    answer(504),
  ]);
  const sender = senderTo(t, url);
  assert.deepEqual(await sent(sender), { kind: 'failed', message: 'HTTP 429: slow down', afterMs: 7000 });
  assert.deepEqual(await sent(sender), { kind: 'failed', message: 'HTTP 502', afterMs: undefined });
  assert.deepEqual(await sent(sender), { kind: 'failed', message: 'HTTP 503', afterMs: undefined });
  assert.deepEqual(await sent(sender), { kind: 'failed', message: 'HTTP 504', afterMs: undefined });
});

test('other answers are final: 400, 401, 404, 413, 500, and a redirection, which is not followed', async (t) => {
  for (const status of [400, 401, 404, 413, 500]) {
    const { url } = await startReceiver(t, [answer(status, `{"message":"${'no '.repeat(200)}"}`)]);
    const outcome = await sent(senderTo(t, url));
    assert.equal(outcome.kind, 'refused');
    assert.ok(outcome.message.startsWith(`HTTP ${status}: no no`) && outcome.message.length < 250);
  }
  const { url, received } = await startReceiver(t, [answer(307, '', { Location: '/elsewhere' })]);
  assert.deepEqual(await sent(senderTo(t, url)), { kind: 'refused', message: 'HTTP 307' });
  assert.equal(received.length, 1);
});

test('a date says when to come again', () => {
  const nowMs = Date.parse('2026-11-22T08:45:00Z');
  assert.equal(retryAfterMs('Sun, 22 Nov 2026 08:45:30 GMT', nowMs), 30_000);
  assert.equal(retryAfterMs('Sun, 22 Nov 2026 08:44:30 GMT', nowMs), 0);
  assert.equal(retryAfterMs('-1', nowMs), 0);
});

test('a collector that says nothing is left after the time-out', async (t) => {
  const { url } = await startReceiver(t, [silence]);
  assert.equal(await failed(senderTo(t, url, { timeoutMs: 50 })), 'no answer within 50 ms');
});

test('a collector that answers slowly and in pieces has answered', async (t) => {
  const { url } = await startReceiver(t, [
    (response) => {
      response.writeHead(200).write('{"partialSuccess":');
      setTimeout(() => response.end('{"rejectedLogRecords":1}}'), 30);
    },
  ]);
  assert.deepEqual(await sent(senderTo(t, url)), { kind: 'accepted', rejected: 1, message: '' });
});

test('a collector that breaks off, and one that answers without end', async (t) => {
  const { url } = await startReceiver(t, [
    (response) => response.destroy(),
    (response) => void response.writeHead(200).end('x'.repeat(100_000)),
  ]);
  const sender = senderTo(t, url);
  assert.match(await failed(sender), /socket hang up|ECONNRESET/);
  assert.match(await failed(sender), /an answer of more than 65536 bytes/);
});

test('nobody listens, and the name is unknown', async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  assert.match(await failed(senderTo(t, `http://127.0.0.1:${port}`)), /ECONNREFUSED/);
  assert.match(await failed(senderTo(t, 'http://collector.invalid:4318')), /collector\.invalid/);
});

test('the collector’s addresses are told before it is connected to', async (t) => {
  const { port } = await startReceiver(t);
  assert.deepEqual(senderTo(t, `http://127.0.0.1:${port}`).addresses, ['127.0.0.1']);
  assert.deepEqual(senderTo(t, 'http://[fd00::9]:4318').addresses, ['fd00::9']);
  const byName = senderTo(t, `http://localhost:${port}`);
  assert.equal(byName.addresses.length, 0);
  assert.equal((await sent(byName)).kind, 'accepted');
  assert.ok(byName.addresses.includes('127.0.0.1'));
});

test('TLS: a certificate of the given authority is trusted, any other is not', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-otlp-tls-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const [key, cert] = [join(directory, 'key'), join(directory, 'cert')];
  const subject = ['-subj', '/CN=collector', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, ...subject],
    {
      stdio: 'ignore',
    },
  );
  const tls = { key: readFileSync(key), cert: readFileSync(cert) };
  const { url } = await startReceiver(t, [], tls);
  assert.equal((await sent(senderTo(t, url, { ca: tls.cert.toString() }))).kind, 'accepted');
  assert.match(await failed(senderTo(t, url)), /self-signed certificate/);
  assert.match(await failed(senderTo(t, url.replace('https', 'http'))), /socket hang up|ECONNRESET|Parse Error/);
});

test('whoever ends it does not wait', async (t) => {
  const { url } = await startReceiver(t, [silence]);
  const ending = new AbortController();
  const outcome = senderTo(t, url).send(BODY, ending.signal);
  ending.abort();
  assert.equal((await outcome).kind, 'failed');
});

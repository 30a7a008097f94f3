import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type OtlpSettings, readOtlpSettings, shownUrl } from '../../src/export/settings.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { readSettings } from '../../src/util/settings.ts';

const read = (env: Record<string, string>, flags: Record<string, string> = {}): OtlpSettings | undefined =>
  readOtlpSettings(readSettings(flags, env), env);

function refused(env: Record<string, string>): string {
  try {
    read(env);
  } catch (error) {
    assert.ok(error instanceof KtraceError && error.code === 'KTRACE_E_ARGUMENT' && error.exitCode === 2);
    return error.message;
  }
  throw new Error('it was taken');
}

test('is off without an endpoint, and where OpenTelemetry is told to be off', () => {
  assert.equal(read({}), undefined);
  assert.equal(read({ OTEL_EXPORTER_OTLP_HEADERS: 'a=b', KTRACE_OTLP_ENDPOINT: '' }), undefined);
  assert.equal(read({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_SDK_DISABLED: 'true' }), undefined);
  assert.equal(read({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_LOGS_EXPORTER: 'none' }), undefined);
});

test('its own variable goes before those of OpenTelemetry, and the one for logs before the general one', () => {
  const general = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://general:4318/base/' };
  const logs = { ...general, OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: 'https://logs.example/in?key=1' };
  assert.equal(read(general)?.url.href, 'http://general:4318/base/v1/logs');
  assert.equal(read(logs)?.url.href, 'https://logs.example/in?key=1');
  assert.equal(read({ ...logs, KTRACE_OTLP_ENDPOINT: 'http://own:4318' })?.url.href, 'http://own:4318/v1/logs');
  assert.equal(read(logs, { otlpEndpoint: 'http://[fd00::9]:4318' })?.url.href, 'http://[fd00::9]:4318/v1/logs');
});

test('has defaults', () => {
  const { url: _, ...rest } = read({ KTRACE_OTLP_ENDPOINT: 'http://c:4318' }) ?? {};
  assert.deepEqual(rest, {
    headers: {},
    compression: 'gzip',
    timeoutMs: 10_000,
    ca: undefined,
    clientCertificate: undefined,
    clientKey: undefined,
    attributes: {},
  });
});

test('takes headers, time-out, compression, certificates and attributes as OpenTelemetry names them', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-otlp-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const pem = join(directory, 'ca.crt');
  writeFileSync(pem, '-----BEGIN CERTIFICATE-----\n');
  const settings = read({
    KTRACE_OTLP_ENDPOINT: 'https://c:4318',
    OTEL_EXPORTER_OTLP_HEADERS: 'ignored=1',
    OTEL_EXPORTER_OTLP_LOGS_HEADERS: 'authorization=Bearer%20s3cret, x-tenant=a%2Cb',
    OTEL_EXPORTER_OTLP_TIMEOUT: '2500',
    OTEL_EXPORTER_OTLP_LOGS_COMPRESSION: 'none',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_EXPORTER_OTLP_CERTIFICATE: pem,
    OTEL_RESOURCE_ATTRIBUTES: 'k8s.cluster.name=prod,service.name=other',
    OTEL_SERVICE_NAME: 'traffic',
  });
  assert.deepEqual(settings?.headers, { authorization: 'Bearer s3cret', 'x-tenant': 'a,b' });
  assert.equal(settings?.timeoutMs, 2500);
  assert.equal(settings?.compression, 'none');
  assert.equal(settings?.ca, '-----BEGIN CERTIFICATE-----\n');
  assert.deepEqual(settings?.attributes, { 'k8s.cluster.name': 'prod', 'service.name': 'traffic' });
});

const CASES: [what: string, value: string, message: RegExp][] = [
  [
    'KTRACE_OTLP_ENDPOINT',
    'collector:4318',
    /^Expected an http or https URL for .*KTRACE_OTLP_ENDPOINT.*, got "collector:4318"$/,
  ],
  ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc', /^Expected http\/json.* for OTEL_EXPORTER_OTLP_PROTOCOL, got "grpc"$/],
  ['OTEL_EXPORTER_OTLP_COMPRESSION', 'zstd', /^Expected one of gzip, none/],
  ['OTEL_EXPORTER_OTLP_TIMEOUT', '10s', /^Expected milliseconds from 1 to 300000/],
  ['OTEL_EXPORTER_OTLP_CERTIFICATE', '/none', /^Expected the path of a PEM file.*ENOENT/],
  ['OTEL_EXPORTER_OTLP_CLIENT_KEY', '/etc/hostname', /^Expected the path of a PEM file.*got "\/etc\/hostname"$/],
  ['OTEL_RESOURCE_ATTRIBUTES', 'a=b,c', /^Expected name=value pairs apart by commas.*at 2"$/],
];
for (const [name, value, message] of CASES) {
  test(`refuses ${name}=${value}`, () => {
    assert.match(refused({ KTRACE_OTLP_ENDPOINT: 'http://c:4318', [name]: value }), message);
  });
}

test('no secret is in a message', () => {
  for (const env of [
    { KTRACE_OTLP_ENDPOINT: 'http://user:s3cret@c:4318' },
    { KTRACE_OTLP_ENDPOINT: 'user:s3cret@c' },
    { KTRACE_OTLP_ENDPOINT: 'http://c', OTEL_EXPORTER_OTLP_HEADERS: 's3cret' },
    { KTRACE_OTLP_ENDPOINT: 'http://c', OTEL_EXPORTER_OTLP_HEADERS: 'a=s3cret%0a' },
    { KTRACE_OTLP_ENDPOINT: 'http://c', OTEL_EXPORTER_OTLP_HEADERS: 'a=s3cret%' },
  ]) {
    assert.doesNotMatch(refused(env), /s3cret/);
  }
  assert.equal(shownUrl(new URL('https://c/v1/logs?key=s3cret')), 'https://c/v1/logs');
});

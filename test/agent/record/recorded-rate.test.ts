import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_LIMITS } from '../../../src/agent/access/limits.ts';
import { until } from '../../support/until.ts';
import { serve, temporaryDirectory } from '../serve/server-fixture.ts';
import { startRecorder } from './recorder/recorder-fixture.ts';

test('a connection that asks again and again what is recorded is answered at its rate', async (t) => {
  const recorder = await startRecorder(t, { directory: await temporaryDirectory(t), budgetBytes: 64 * 1024 * 1024 });
  await until('names are recorded', () => recorder.stores.names.counts.writtenBytes > 0);
  const { connect } = await serve(t, { recordedMs: 100 }, { recorder: () => recorder });
  const client = connect();
  await client.hello();
  const asked = DEFAULT_LIMITS.recorded + 3;
  const beganMs = performance.now();
  for (let at = 0; at < asked; at++)
    client.say({ type: 'recorded', targets: [{ kind: 'all' }], services: { sinceMs: 0, untilMs: 1 } });
  await client.until(() => client.all('recorded').length === asked);
  assert.ok(performance.now() - beganMs >= 3 * 100 - 1, `${performance.now() - beganMs} ms`);
  assert.equal(client.closed, undefined);
});

test('who asks what is recorded over many connections reads it once', async (t) => {
  const recorder = await startRecorder(t, { directory: await temporaryDirectory(t), budgetBytes: 64 * 1024 * 1024 });
  await until('names are recorded', () => recorder.stores.names.counts.writtenBytes > 0);
  const read = t.mock.method(recorder.limiter, 'read');
  const { connect } = await serve(t, {}, { recorder: () => recorder });
  const readings: number[] = [];
  for (let at = 0; at < 5; at++) {
    const clients = Array.from({ length: 3 }, () => connect());
    for (const client of clients) {
      await client.hello();
      client.say({ type: 'recorded', targets: [{ kind: 'all' }], services: { sinceMs: 0, untilMs: 1 } });
    }
    for (const client of clients) await client.until(() => client.all('recorded').length === 1);
    readings.push(read.mock.callCount());
  }
  assert.ok((readings[0] ?? 0) > 0);
  assert.deepEqual(readings, Array(5).fill(readings[0]));
});

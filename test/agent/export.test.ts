import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { parseAgentConfig } from '../../src/agent/config.ts';
import { type RunningExport, startExport } from '../../src/agent/export.ts';
import { NamesIndex } from '../../src/kube/index/names-index.ts';
import { createLog } from '../../src/util/log.ts';
import { serviceFlow } from '../export/events.ts';
import { startReceiver } from '../export/receiver.ts';
import { FakeFeed } from './serve/fake-feed.ts';
import { serve } from './serve/server-fixture.ts';
import { unixGet } from './serve/unix-get.ts';

interface Started {
  feed: FakeFeed;
  running: RunningExport;
  lines: string[];
}

function start(t: TestContext, url: string): Started {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20s3cret' };
  const config = parseAgentConfig({ node: 'host1', exportTarget: 'ns/shop' }, env).export;
  assert.ok(config !== undefined);
  const feed = new FakeFeed();
  const lines: string[] = [];
  const log = createLog('agent', 'debug', { write: (line) => void lines.push(line) });
  const running = startExport({ config, feed, index: new NamesIndex({ node: 'host1', now: Date.now }), version: '1.2.3', log });
  t.after(() => running.close());
  return { feed, running, lines };
}

test('follows what is configured, sends it, and follows no more when it is closed', async (t) => {
  const { url, received } = await startReceiver(t);
  const { feed, running, lines } = start(t, url);
  assert.deepEqual(
    [...feed.followers].map(({ subscription }) => subscription),
    [{ targets: [{ kind: 'namespace', name: 'shop' }], addresses: [], units: 'flows' }],
  );
  feed.publish(serviceFlow());
  await running.close();
  assert.equal(feed.followers.size, 0);
  assert.equal(received[0]?.path, '/v1/logs');
  assert.equal(received[0]?.headers['authorization'], 'Bearer s3cret');
  assert.match(lines.join(''), /"taken":1,"exported":1/);
  assert.doesNotMatch(lines.join(''), /s3cret/);
});

test('a collector that is not there leaves no secret in the log, and its losses in the metrics', async (t) => {
  const { feed, running, lines } = start(t, 'http://127.0.0.1:9');
  const { socketPath } = await serve(t, {}, { counters: running.counters });
  feed.publish(serviceFlow());
  await running.close();
  assert.doesNotMatch(lines.join(''), /s3cret/);
  assert.match(lines.join(''), /log records do not all reach the collector/);
  const body = await unixGet(socketPath, '/metrics');
  assert.match(body, /^ktrace_export_records_in_total 1$/m);
  assert.match(body, /^ktrace_export_records_exported_total 0$/m);
  assert.match(body, /^ktrace_export_records_lost_total\{reason="shutdown"\} 1$/m);
  assert.match(body, /^ktrace_export_records_waiting 0$/m);
  assert.match(body, /^ktrace_export_requests_total\{outcome="failed"\} [1-9]/m);
});

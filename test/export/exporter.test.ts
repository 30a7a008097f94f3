import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { KtraceEvent } from '../../src/event/types.ts';
import { Exporter, type ExporterOptions } from '../../src/export/exporter.ts';
import type { ExportLimits } from '../../src/export/limits.ts';
import { OwnTraffic } from '../../src/export/own-traffic.ts';
import { DEFAULT_EXPORT_EVENTS } from '../../src/export/selection.ts';
import type { Outcome } from '../../src/export/send.ts';
import { until } from '../support/until.ts';
import { droppedReply, serviceFlow } from './events.ts';
import { type LogRecord, type LogsRequest, plain, recordsOf } from './receiver.ts';

const ACCEPTED: Outcome = { kind: 'accepted', rejected: 0, message: '' };
const failed = (afterMs?: number): Outcome => ({ kind: 'failed', message: 'no', afterMs });

interface Fixture {
  exporter: Exporter;
  /** Records of each request. */
  requests: LogRecord[][];
  log: { level: string; fields: Record<string, unknown>; text: string }[];
  /** What the next requests come to; then accepted. A function is asked. */
  outcomes: (Outcome | (() => Promise<Outcome>))[];
  clock: { ms: number };
}

/** An exporter over a collector that does what it is told. Its clock stands unless it is moved, and waiting takes no time to speak of. */
function fixture(t: TestContext, limits: Partial<ExportLimits> = {}, options: Partial<ExporterOptions> = {}): Fixture {
  const requests: LogRecord[][] = [];
  const log: Fixture['log'] = [];
  const outcomes: Fixture['outcomes'] = [];
  const clock = { ms: 1000 };
  const say = (level: string) => (fields: object, text: string) => void log.push({ level, fields: { ...fields }, text });
  const exporter = new Exporter({
    source: { node: 'host1', hostName: 'host1', instance: 'i', version: '1', attributes: {} },
    events: new Set(DEFAULT_EXPORT_EVENTS),
    sender: {
      async send(body) {
        requests.push(recordsOf(JSON.parse(body) as LogsRequest));
        const outcome = outcomes.shift() ?? ACCEPTED;
        return typeof outcome === 'function' ? outcome() : outcome;
      },
      close: () => undefined,
    },
    ownTraffic: new OwnTraffic(() => []),
    log: { warn: say('warn'), info: say('info') },
    nowNs: () => 1_795_337_100_000_000_000n,
    nowMs: () => clock.ms,
    random: () => 0,
    limits: { delayMs: 0, backoffMs: 1, maxBackoffMs: 4, ...limits },
    ...options,
  });
  t.after(() => exporter.close());
  return { exporter, requests, log, outcomes, clock };
}

function tell(exporter: Exporter, count: number, event: KtraceEvent = serviceFlow()): void {
  for (let at = 0; at < count; at += 1) exporter.event(event);
}

/** What came in is exported, lost or waiting, at every moment. */
function assertAllCounted({ counts, waiting }: Exporter): void {
  const lost = Object.values(counts.lost).reduce((sum, one) => sum + one, 0);
  assert.equal(counts.in, counts.exported + lost + waiting.records);
}

test('takes what is selected alone: by default no packet but drops, and no flow that has just begun', async (t) => {
  const { exporter, requests } = fixture(t);
  const { drop: _, ...packet } = droppedReply();
  const lost = {
    v: 1,
    kind: 'lost',
    node: 'host1',
    stage: 'kernel-ring',
    count: 2,
    from: '',
    to: '2026-11-22T08:45:00.000000000Z',
  } as const;
  for (const event of [packet, droppedReply(), serviceFlow({ state: 'open' }), serviceFlow({ state: 'update' }), lost])
    exporter.event(event);
  await until('sent', () => exporter.counts.exported === 3);
  assert.deepEqual(
    requests.flat().map(({ eventName }) => eventName),
    ['ktrace.drop', 'ktrace.flow', 'ktrace.lost'],
  );
});

test('each record has an id of its own', async (t) => {
  const { exporter, requests } = fixture(t);
  tell(exporter, 40);
  await until('sent', () => exporter.counts.exported === 40);
  assert.equal(new Set(requests.flat().map(({ attributes }) => plain(attributes)['log.record.uid'])).size, 40);
});

test('a full batch leaves at once, a smaller one when it has waited', async (t) => {
  const { exporter, requests } = fixture(t, { batchRecords: 10, delayMs: 3_600_000 });
  tell(exporter, 25);
  await until('two batches', () => requests.length === 2);
  assert.deepEqual(
    requests.map(({ length }) => length),
    [10, 10],
  );
  assert.equal(exporter.waiting.records, 5);
  await exporter.close();
  assert.equal(requests[2]?.length, 5, 'the rest goes with the end');
  assertAllCounted(exporter);
});

test('what does not fit is cut and counted, and nobody waits for it', async (t) => {
  const { exporter, outcomes } = fixture(t, { queueRecords: 10, batchRecords: 5 });
  let release: (outcome: Outcome) => void = () => undefined;
  outcomes.push(() => new Promise((resolve) => (release = resolve)));
  tell(exporter, 5);
  await until('under way', () => exporter.waiting.records === 5 && exporter.waiting.bytes === 0);
  tell(exporter, 1000);
  assert.equal(exporter.counts.lost.queue_full, 990);
  assert.equal(exporter.waiting.records, 15);
  assertAllCounted(exporter);
  release(ACCEPTED);
  await until('sent', () => exporter.counts.exported === 15);
  assertAllCounted(exporter);
});

test('the queue is bounded in bytes too', async (t) => {
  const { exporter } = fixture(t, { queueBytes: 20_000, delayMs: 3_600_000 });
  tell(exporter, 1000);
  assert.ok(exporter.waiting.bytes < 25_000);
  assert.ok(exporter.counts.lost.queue_full > 950);
});

test('a failed request is sent again, the same records, until it is taken', async (t) => {
  const { exporter, requests, outcomes } = fixture(t);
  outcomes.push(failed(), failed(), failed());
  tell(exporter, 3);
  await until('sent', () => exporter.counts.exported === 3);
  assert.equal(requests.length, 4);
  for (const request of requests) assert.deepEqual(request, requests[0]);
  assert.deepEqual(exporter.counts.requests, { accepted: 1, refused: 0, failed: 3 });
  assert.deepEqual(exporter.counts.lost, { queue_full: 0, rejected: 0, gave_up: 0, shutdown: 0 });
});

test('a collector that is away for long costs what is too old, and the next records go on', async (t) => {
  const { exporter, requests, outcomes, clock } = fixture(t, { maxAgeMs: 60_000, batchRecords: 5 });
  outcomes.push(async () => {
    tell(exporter, 7);
    clock.ms += 50_000;
    tell(exporter, 4);
    return failed();
  });
  outcomes.push(async () => {
    clock.ms += 20_000;
    return failed();
  });
  tell(exporter, 5);
  await until('sent', () => exporter.counts.exported === 4);
  assert.equal(exporter.counts.lost.gave_up, 12, 'the batch and what was as old as it');
  assertAllCounted(exporter);
  const [report] = requests[2]?.slice(-1) ?? [];
  assert.equal(report?.eventName, 'ktrace.lost', 'the collector is told of it');
  assert.deepEqual(
    [plain(report?.attributes ?? [])['ktrace.lost.count'], plain(report?.attributes ?? [])['ktrace.lost.stage']],
    [12, 'export'],
  );
  assert.equal(requests[2]?.length, 5);
});

test('what was lost is told once, also when the first request that tells it fails', async (t) => {
  const { exporter, requests, outcomes } = fixture(t, { queueRecords: 2, delayMs: 3_600_000 });
  outcomes.push(failed());
  tell(exporter, 5);
  await exporter.close();
  const told = requests.map((records) => records.filter(({ eventName }) => eventName === 'ktrace.lost').length);
  assert.deepEqual(told, [1]);
  assert.deepEqual(exporter.counts.lost, { queue_full: 3, rejected: 0, gave_up: 0, shutdown: 2 });
  const again = fixture(t, { queueRecords: 2 });
  again.outcomes.push(failed());
  tell(again.exporter, 5);
  await until('sent', () => again.exporter.counts.exported === 2);
  tell(again.exporter, 1);
  await until('sent', () => again.exporter.counts.exported === 3);
  assert.deepEqual(
    again.requests.map((records) => records.filter(({ eventName }) => eventName === 'ktrace.lost').length),
    [1, 1, 0],
  );
});

test('the collector’s own time to come again is kept, up to the age of a record', async (t) => {
  const { exporter, requests, outcomes } = fixture(t, { maxAgeMs: 40 });
  outcomes.push(failed(3_600_000));
  tell(exporter, 2);
  await until('given up', () => exporter.counts.lost.gave_up === 2);
  assert.equal(requests.length, 1);
  tell(exporter, 1);
  await until('sent', () => exporter.counts.exported === 1);
});

test('rejected records are counted and not sent again', async (t) => {
  const { exporter, requests, outcomes } = fixture(t, { batchRecords: 4 });
  outcomes.push({ kind: 'accepted', rejected: 3, message: 'too old' }, { kind: 'refused', message: 'HTTP 400' });
  outcomes.push({ kind: 'accepted', rejected: 99, message: 'nonsense' });
  tell(exporter, 12);
  await until('answered', () => exporter.waiting.records === 0);
  assert.deepEqual([exporter.counts.exported, exporter.counts.lost.rejected, requests.length], [1, 11, 3]);
  assertAllCounted(exporter);
});

test('the log says so once in a while, with the sums, and that it works again', async (t) => {
  const { exporter, log, outcomes, clock } = fixture(t, { maxAgeMs: 3_600_000, complaintMs: 60_000 });
  for (let at = 0; at < 20; at += 1) outcomes.push(failed());
  tell(exporter, 1);
  await until('sent', () => exporter.counts.exported === 1);
  assert.deepEqual(
    log.map(({ level, text }) => [level, text]),
    [
      ['warn', 'log records do not all reach the collector'],
      ['info', 'log records reach the collector'],
    ],
  );
  assert.equal(log[0]?.fields['err'], 'no');
  outcomes.push(failed());
  tell(exporter, 1);
  await until('sent', () => exporter.counts.exported === 2);
  assert.equal(log.length, 2, 'within the minute nothing more is said');
  clock.ms += 60_000;
  outcomes.push(failed());
  tell(exporter, 1);
  await until('sent', () => exporter.counts.exported === 3);
  assert.equal(log.length, 4);
});

test('the end comes in bounded time, whatever the collector does, and what is left is counted', async (t) => {
  let isEnded = false;
  const sender: ExporterOptions['sender'] = {
    send: (_, signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          isEnded = true;
          resolve(failed());
        });
      }),
    close: () => undefined,
  };
  const { exporter } = fixture(t, { flushMs: 50, delayMs: 3_600_000, batchRecords: 2 }, { sender });
  tell(exporter, 5);
  await exporter.close();
  assert.deepEqual([isEnded, exporter.counts.lost.shutdown], [true, 5]);
  exporter.event(serviceFlow());
  assert.equal(exporter.counts.in, 5, 'afterwards nothing is taken');
  assertAllCounted(exporter);
});

test('the end does not wait for the time of the next attempt', async (t) => {
  const { exporter, requests, outcomes } = fixture(t, { backoffMs: 3_600_000, maxBackoffMs: 3_600_000, maxAgeMs: 36_000_000 });
  outcomes.push(failed());
  tell(exporter, 2);
  await until('failed', () => exporter.counts.requests.failed === 1);
  await exporter.close();
  assert.deepEqual([requests.length, exporter.counts.exported], [2, 2]);
});

test('the traffic of exporting is counted and not exported', async (t) => {
  const ownTraffic = new OwnTraffic(() => []);
  ownTraffic.add({ ip: '10.96.0.9', port: 4318 });
  const { exporter } = fixture(t, {}, { ownTraffic });
  const own = serviceFlow({
    src: { ip: '192.168.60.11', port: 4, node: 'host1' },
    dst: { ip: '10.96.0.9', port: 4318 },
    nat: [],
  });
  tell(exporter, 5, own);
  tell(exporter, 1);
  await until('sent', () => exporter.counts.exported === 1);
  assert.deepEqual([exporter.counts.ownTraffic, exporter.counts.in], [5, 1]);
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReadLimiter } from '../src/agent/record/read-limiter.ts';
import { keysOf } from '../src/agent/record/record-keys.ts';
import { readRecords } from '../src/agent/record/recording.ts';
import { dumpSelection } from '../src/agent/serve/dump/dump-selection.ts';
import type { FlowEvent } from '../src/event/types.ts';
import { BlockBuilder } from '../src/store/block-builder.ts';
import { SegmentStore } from '../src/store/segment-store.ts';

/**
 * A recording of so many conversations of 200 pods, and a dump's question for one of them: run with the number of records, e.g.
 * `node --import tsx bench/recording-query.ts 10000000`. Prints one JSON object.
 */
const RECORDS = Number(process.argv[2] ?? 1_000_000);
const PODS = 200;
/** A tenth of all records a minute are of one pod after the other, as pods come and go. */
const ACTIVE = 20;
const START_MS = Date.UTC(2026, 10, 22);

const folder = mkdtempSync(join(tmpdir(), 'ktrace-query-'));
try {
  const store = await open();
  const buildMs = await timed(() => build(store));
  const asked = dumpSelection([{ kind: 'pod', namespace: 'shop', name: 'web-77' }], []);
  const peak = watchRss();
  const beganMs = performance.now();
  let firstMs: number | undefined;
  let found = 0;
  let read = 0;
  const recorder = {
    limiter: new ReadLimiter(),
    stores: { share: store, excess: await open('excess'), names: await open('names'), services: await open('services') },
  };
  const options = { sinceMs: 0, untilMs: 8e15, keys: asked.keys, after: undefined, onDamage: () => undefined };
  for await (const { raw } of readRecords(recorder, options)) {
    for (const line of raw.toString('utf8').split('\n')) {
      if (line === '') continue;
      read += 1;
      const event = JSON.parse(line) as FlowEvent;
      if (!asked.isOf(event, Date.parse(event.endTime))) continue;
      found += 1;
      firstMs ??= performance.now() - beganMs;
    }
  }
  const result = {
    records: RECORDS,
    bytesPerRecord: Number((store.totalBytes / RECORDS).toFixed(1)),
    recordsPerSecond: Math.round((RECORDS * 1000) / buildMs),
    found,
    read,
    firstMs: Math.round(firstMs ?? Number.NaN),
    allMs: Math.round(performance.now() - beganMs),
    rssMiB: Math.round(peak() / 2 ** 20),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function open(name = 'share'): Promise<SegmentStore> {
  const segmentBytes = 16 * 1024 * 1024;
  const rest = { onLost: fail, onTrouble: fail, queueBytes: 64 * 1024 * 1024 };
  return SegmentStore.open({ directory: join(folder, name), budgetBytes: 2 ** 40, ageMs: 1e15, segmentBytes, ...rest });
}

function fail(why: unknown): never {
  throw new Error(String(why));
}

async function build(store: SegmentStore): Promise<void> {
  const builder = new BlockBuilder('records');
  for (let at = 0; at < RECORDS; at++) {
    const pod = (Math.floor((at * PODS) / RECORDS) + (at % ACTIVE)) % PODS;
    const event = record(at, pod);
    builder.add(JSON.stringify(event), START_MS + at, keysOf(event));
    if (!builder.isFull) continue;
    store.append(builder.take());
    // What waits for the disk is bounded: the bench waits with it.
    while (store.counts.writtenBytes < builder.encodedBytes - 8 * 1024 * 1024)
      await new Promise((resolve) => setImmediate(resolve));
  }
  if (!builder.isEmpty) store.append(builder.take());
  await store.close();
}

function record(at: number, pod: number): FlowEvent {
  const uid = `5f0c1e7a-0000-4000-8000-${String(pod).padStart(12, '0')}`;
  const labels = { app: 'web', 'pod-template-hash': '77c9d8f5b' };
  const time = new Date(START_MS + at).toISOString().replace('Z', '123456Z');
  const service = { namespace: 'shop', name: 'db', port: 'sql' };
  const after = { ip: `10.244.${at % 7}.9`, port: 5432 };
  const dst = { ip: '10.96.0.10', port: 5432, service };
  return {
    ...{ v: 1, kind: 'flow', id: `a1b2c3d4e5f6-f${at.toString(36)}`, state: 'close', node: 'host1', proto: 'tcp' },
    src: {
      ip: `10.244.1.${pod + 2}`,
      port: 32_768 + (Math.imul(at, 7919) & 0x3fff),
      pod: { namespace: 'shop', name: `web-${pod}`, uid, labels, owner: 'Deployment/web', node: 'host1' },
    },
    dst,
    nat: [{ kind: 'dnat', before: dst, after, service: 'shop/db:sql', chains: ['KUBE-SVC-A', 'KUBE-SEP-B'], seenBy: 'kprobe' }],
    packets: { request: 6 + (at % 5), reply: 4 + (at % 3) },
    bytes: { request: 376 + (at % 977), reply: 221 + (at % 1999) },
    startTime: time,
    endTime: time,
  };
}

async function timed(work: () => Promise<void>): Promise<number> {
  const beganMs = performance.now();
  await work();
  return performance.now() - beganMs;
}

function watchRss(): () => number {
  let most = process.memoryUsage.rss();
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 50);
  return () => {
    clearInterval(timer);
    return most;
  };
}

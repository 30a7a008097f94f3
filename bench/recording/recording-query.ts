import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, createWriteStream, mkdtempSync, rmSync, statSync, type WriteStream } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReadLimiter } from '../../src/agent/record/read-limiter.ts';
import { keysOf } from '../../src/agent/record/record-keys.ts';
import { readRecords } from '../../src/agent/record/recording.ts';
import { dumpSelection } from '../../src/agent/serve/dump/dump-selection.ts';
import type { FlowEvent } from '../../src/event/types.ts';
import { BlockBuilder } from '../../src/store/block-builder.ts';
import { SegmentStore } from '../../src/store/segment-store.ts';

/**
 * A recording of so many conversations of 200 pods, and a dump's question for one of them; beside it a pcap of a segment of each, and the same question to
 * `tcpdump -r`. Run with the number of records, e.g. `node --import tsx bench/recording/recording-query.ts 10000000`. Prints one JSON object.
 */
const RECORDS = Number(process.argv[2] ?? 1_000_000);
const PODS = 200;
/** A tenth of all records a minute are of one pod after the other, as pods come and go. */
const ACTIVE = 20;
const START_MS = Date.UTC(2026, 10, 22);
const ASKED_POD = 77;
const PCAP_BYTES = 16 + 40;
/** Of the pcap, written at once. */
const PACKETS_AT_ONCE = 16_384;

const folder = mkdtempSync(join(tmpdir(), 'ktrace-query-'));
try {
  const store = await open();
  const buildMs = await timed(() => build(store));
  const asked = dumpSelection([{ kind: 'pod', namespace: 'shop', name: `web-${ASKED_POD}` }], []);
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
      if (!asked.mayBeIn(line)) continue;
      const event = JSON.parse(line) as FlowEvent;
      if (!asked.isOf(event, Date.parse(event.endTime))) continue;
      found += 1;
      firstMs ??= performance.now() - beganMs;
    }
  }
  const [allMs, rss] = [performance.now() - beganMs, peak()];
  // Afterwards: its writing takes memory, also of the page cache.
  const pcap = join(folder, 'all.pcap');
  await writePcap(pcap);
  const tcpdump = await askTcpdump(pcap);
  if (tcpdump.found !== found) fail(`tcpdump found ${tcpdump.found} packets, the recording has ${found} conversations`);
  const result = {
    records: RECORDS,
    bytesPerRecord: Number((store.totalBytes / RECORDS).toFixed(1)),
    recordsPerSecond: Math.round((RECORDS * 1000) / buildMs),
    found,
    read,
    firstMs: Math.round(firstMs ?? Number.NaN),
    allMs: Math.round(allMs),
    rssMiB: Math.round(rss / 2 ** 20),
    tcpdump: { fileMiB: Math.round(statSync(pcap).size / 2 ** 20), ...tcpdump },
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
    const event = record(at, podOf(at));
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

function podOf(at: number): number {
  return (Math.floor((at * PODS) / RECORDS) + (at % ACTIVE)) % PODS;
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

/** A segment of each conversation, as raw IP: what `tcpdump -w` had of it with its headers alone. */
async function writePcap(path: string): Promise<void> {
  const file = createWriteStream(path);
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2_c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(96, 16);
  header.writeUInt32LE(101, 20);
  await write(file, header);
  for (let from = 0; from < RECORDS; from += PACKETS_AT_ONCE) {
    const to = Math.min(from + PACKETS_AT_ONCE, RECORDS);
    const packets = Buffer.alloc((to - from) * PCAP_BYTES);
    for (let at = from; at < to; at++) putPacket(packets, (at - from) * PCAP_BYTES, at);
    await write(file, packets);
  }
  await new Promise<void>((resolve) => file.end(resolve));
}

function write(file: WriteStream, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => file.write(bytes, (error) => (error == null ? resolve() : reject(error))));
}

function putPacket(packets: Buffer, from: number, at: number): void {
  const { src, startTime } = record(at, podOf(at));
  const ms = Date.parse(startTime);
  packets.writeUInt32LE(Math.floor(ms / 1000), from);
  packets.writeUInt32LE((ms % 1000) * 1000, from + 4);
  packets.writeUInt32LE(40, from + 8);
  packets.writeUInt32LE(40, from + 12);
  const ip = from + 16;
  packets.set([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6], ip);
  packets.set(src.ip.split('.').map(Number), ip + 12);
  packets.set([10, 96, 0, 10], ip + 16);
  packets.writeUInt16BE(src.port ?? 0, ip + 20);
  packets.writeUInt16BE(5432, ip + 22);
  packets.set([0x50, 0x02], ip + 32);
}

/** Its file is in the page cache, as the recording is. */
async function askTcpdump(pcap: string): Promise<{ found: number; firstMs: number; allMs: number }> {
  for await (const _ of createReadStream(pcap));
  const beganMs = performance.now();
  const child = spawn('tcpdump', ['-nr', pcap, 'host', `10.244.1.${ASKED_POD + 2}`], { stdio: ['ignore', 'pipe', 'ignore'] });
  let firstMs = Number.NaN;
  let found = 0;
  const ended = once(child, 'close');
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    if (found === 0) firstMs = performance.now() - beganMs;
    for (const byte of chunk) if (byte === 0x0a) found += 1;
  }
  await ended;
  return { found, firstMs: Math.round(firstMs), allMs: Math.round(performance.now() - beganMs) };
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

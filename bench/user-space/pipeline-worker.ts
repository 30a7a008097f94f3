/**
 * Runs in a node's namespace: records what the kernel tells of live traffic, then sends the recording through a pipeline of its own as
 * fast as one core can. Says `recording` on stdout when it has attached; its last line is the result as JSON.
 *
 * Arguments: node, kubeconfig, seconds of recording, seconds of replay.
 */
import { statSync } from 'node:fs';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { KubeConfig } from '@kubernetes/client-node';
import { Interfaces } from '../../src/agent/kernel/interfaces.ts';
import { KernelSymbols } from '../../src/agent/kernel/probes/kernel-symbols.ts';
import { Tracer } from '../../src/agent/kernel/tracer.ts';
import { kubeNaming } from '../../src/agent/pipeline/naming.ts';
import { Pipeline, type PipelineOptions } from '../../src/agent/pipeline/pipeline.ts';
import { SIGHTING } from '../../src/event/layout.ts';
import type { Subscription } from '../../src/event/target.ts';
import { startKube } from '../../src/kube/start.ts';
import { loadNative } from '../../src/native/load.ts';
import type { NativeModule, RingReader } from '../../src/native/types.ts';
import { createLog } from '../../src/util/log.ts';

/** What a replay came to. `events` are sightings; seconds are those of the one thread's own CPU time, whatever else the machine did. */
export interface PipelineResult {
  recorded: number;
  events: number;
  packetsTold: number;
  seconds: number;
  eventsPerSecond: number;
}

const PREFIX_BYTES = 8;
/** Enough for every kind of packet to be among them, and 60 MB. */
const MAX_RECORDS = 150_000;
const EVERYTHING: Subscription = { targets: [{ kind: 'all' }], addresses: [], units: 'packets' };

const [node = '', kubeconfig = '', recordSeconds = '', replaySeconds = ''] = process.argv.slice(2);
const log = createLog('bench', 'error');
const native = loadNative();
const kubeConfig = new KubeConfig();
kubeConfig.loadFromFile(kubeconfig);
const kube = startKube({ kubeConfig, node, proxyMode: 'iptables' });
await kube.synced();
const tracer = new Tracer({
  native,
  objectPath: fileURLToPath(new URL('../../build/bpf/ktrace.bpf.o', import.meta.url)),
  netns: statSync('/proc/self/ns/net').ino,
  ringBytes: 64 << 20,
  podRate: 0,
  attach: 'auto',
});
const interfaces = new Interfaces({ native, tracer, log });
interfaces.setNodeAddresses(kube.index.findNode(node)?.ips ?? []);
kube.index.setLocalAddresses([...interfaces.ownAddresses]);
const options: PipelineOptions = {
  node,
  native,
  tracer,
  interfaces,
  naming: kubeNaming(kube),
  symbols: new KernelSymbols((address) => tracer.symbolText(address)),
  log,
};

const batches = await record(options, Number(recordSeconds));
const result = await replay(options, batches, Number(replaySeconds));
interfaces.close();
tracer.close();
kube.close();
process.stdout.write(`${JSON.stringify(result)}\n`);

async function record(options: PipelineOptions, seconds: number): Promise<Buffer[]> {
  const batches: Buffer[] = [];
  let records = 0;
  const recording: NativeModule = {
    ...options.native,
    readRing: (object, map, ringOptions, onRecords) =>
      options.native.readRing(object, map, ringOptions, (batch) => {
        if (records < MAX_RECORDS) {
          batches.push(batch);
          records += countOf(batch);
        }
        onRecords(batch);
      }),
  };
  const pipeline = new Pipeline({ ...options, native: recording });
  pipeline.follow(EVERYTHING, { event: () => {}, resolved: () => {} }, 'all');
  process.stdout.write('recording\n');
  await sleep(seconds * 1000);
  pipeline.close();
  return batches;
}

/** The kernel side is left out: a ring that is fed by hand, a tracer that follows nothing, interfaces that attach nothing. */
async function replay(options: PipelineOptions, batches: Buffer[], seconds: number): Promise<PipelineResult> {
  let feed: ((records: Buffer) => void) | undefined;
  const still: NativeModule = {
    ...options.native,
    readRing: (_object, _map, _options, onRecords): RingReader => {
      feed = onRecords;
      return { drain: () => {}, pace: () => {}, stats: () => ({ records: 0, bytes: 0, calls: 0, wakeups: 0 }), close: () => {} };
    },
  };
  const pipeline = new Pipeline({
    ...options,
    native: still,
    tracer: except(options.tracer, {
      targets: { set: () => {} } as never,
      flowTable: { changed: () => [], take: () => {}, clear: () => {} } as never,
    }),
    interfaces: except(options.interfaces, { setActive: () => {} }),
  });
  let packetsTold = 0;
  pipeline.follow(
    EVERYTHING,
    {
      event: ({ kind }) => {
        if (kind === 'packet') packetsTold += 1;
      },
      resolved: () => {},
    },
    'all',
  );

  const recorded = batches.reduce((sum, batch) => sum + countOf(batch), 0);
  const spanNs = spanOf(batches) + 1_000_000_000n;
  let busyUs = 0;
  let events = 0;
  for (let pass = 0n; busyUs < seconds * 1e6; pass++) {
    // Copies that are later by a whole recording: else the second pass would amend the packets of the first.
    const copies = batches.map((batch) => later(batch, pass * spanNs));
    const began = process.threadCpuUsage();
    for (const batch of copies) {
      feed?.(batch);
      // The pipeline's own timers get their turn, as they do between two batches of the kernel's.
      await turn();
    }
    const { user, system } = process.threadCpuUsage(began);
    busyUs += user + system;
    events += recorded;
  }
  pipeline.close();
  return { recorded, events, packetsTold, seconds: busyUs / 1e6, eventsPerSecond: events / (busyUs / 1e6) };
}

/** The same, but for what is given: whatever the pipeline asks it besides, it does or answers itself, at the cost of a call. */
function except<T extends object>(of: T, given: Partial<T>): T {
  const same: PropertyDescriptorMap = {};
  for (let owner: object = of; owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
    for (const key of Object.getOwnPropertyNames(owner)) {
      const value: unknown = Reflect.get(of, key);
      same[key] ??= typeof value === 'function' ? { value: value.bind(of) } : { get: () => Reflect.get(of, key) };
    }
  }
  for (const [key, value] of Object.entries(given)) same[key] = { value };
  return Object.defineProperties({}, same) as T;
}

function* recordsOf(batch: Buffer): Generator<number> {
  for (let at = 0; at + PREFIX_BYTES <= batch.length; ) {
    const length = batch.readUInt32LE(at);
    yield at + PREFIX_BYTES;
    at += PREFIX_BYTES + Math.ceil(length / 8) * 8;
  }
}

function countOf(batch: Buffer): number {
  let count = 0;
  for (const _ of recordsOf(batch)) count += 1;
  return count;
}

function later(batch: Buffer, byNs: bigint): Buffer {
  const copy = Buffer.from(batch);
  for (const at of recordsOf(copy)) {
    copy.writeBigUInt64LE(copy.readBigUInt64LE(at + SIGHTING.timeNs) + byNs, at + SIGHTING.timeNs);
  }
  return copy;
}

function spanOf(batches: Buffer[]): bigint {
  let first: bigint | undefined;
  let last = 0n;
  for (const batch of batches) {
    for (const at of recordsOf(batch)) {
      const timeNs = batch.readBigUInt64LE(at + SIGHTING.timeNs);
      if (first === undefined || timeNs < first) first = timeNs;
      if (timeNs > last) last = timeNs;
    }
  }
  return first === undefined ? 0n : last - first;
}

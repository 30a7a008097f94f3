import type { TestContext } from 'node:test';
import type { KernelTargets } from '../../../src/agent/kernel/target-maps.ts';
import type { Follower, Sink } from '../../../src/agent/pipeline/feed.ts';
import { type Naming, Pipeline, type PipelineOptions } from '../../../src/agent/pipeline/pipeline.ts';
import type { KtraceEvent, NoticeEvent } from '../../../src/event/types.ts';
import { resolvedTo } from '../../support/resolved.ts';
import { quiet } from '../serve/server-fixture.ts';

/** Any call of the fake kernel, and what it gives in place of its usual answer. */
export type Calls = Record<string, (...args: never[]) => unknown>;

interface Fakes {
  tracer?: Record<string, unknown>;
  /** Of the tracer. */
  targets?: Calls;
  interfaces?: Calls;
  native?: Record<string, unknown>;
  naming?: Partial<Naming>;
  /** The clock by which it is measured how long it takes to resolve. */
  nowMs?: () => number;
  targetRoom?: number;
  unloadAfterMs?: number;
}

/**
 * A pipeline over a kernel that takes everything, but for what a test changes; it may change that as it goes.
 * `given`: the target sets that the kernel was given.
 */
export function openPipeline(
  t: TestContext,
  { tracer, targets, interfaces, native, naming, nowMs = () => 0, ...more }: Fakes = {},
): { pipeline: Pipeline; tell(batch: Uint8Array): void; rings: number; given: KernelTargets[] } {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
  const given: KernelTargets[] = [];
  const opened = { rings: 0, tell: (_: Uint8Array): void => undefined };
  const options = {
    node: 'host1',
    native: {
      realtimeOffsetNs: () => 0n,
      trimMemory: () => undefined,
      readRing(_object: unknown, _map: string, _options: unknown, onRecords: (batch: Uint8Array) => void) {
        opened.rings += 1;
        opened.tell = onRecords;
        return {
          drain: () => undefined,
          pace: () => undefined,
          close: () => {
            opened.rings -= 1;
          },
        };
      },
      ...native,
    },
    tracer: withAll(
      {
        notices: [],
        dropReasons: new Map(),
        knowsReceivers: true,
        isOutdated: () => false,
        isLoaded: true,
        load: () => false,
        unload: () => undefined,
        probes: { lacking: () => undefined, refresh: () => false },
        targets: { set: (set: KernelTargets) => void given.push(set), add: () => undefined, ...targets },
        setFilter: () => undefined,
        setSnapBytes: () => undefined,
        readTicks: () => undefined,
        flowTable: { changed: () => [], take: () => undefined, clear: () => undefined },
        settleFlowShares: () => undefined,
        stats: () => ({ lostRing: 0, lostScratch: 0, cut: 0, uncounted: 0, flowTableFull: 0 }),
        rates: () => Buffer.alloc(0),
        podCuts: () => Buffer.alloc(0),
        recursionMisses: () => 0,
      },
      tracer,
    ),
    interfaces: withAll(
      {
        nameOf: () => 'veth1',
        kindOf: () => 'pod',
        isOfPod: () => true,
        ownAddresses: new Set<string>(),
        interfaceOfAddress: () => undefined,
        vxlanPorts: () => [],
        genevePorts: () => [],
        podAddresses: () => [],
        newPodAddresses: () => [],
        setActive: () => undefined,
        lacking: () => undefined,
        retryFailed: () => undefined,
        reattach: () => [],
      },
      interfaces,
    ),
    naming: {
      resolve: () => resolvedTo({ addresses: ['10.244.1.2'] }),
      placeOf: () => 'unknown',
      namePacket: () => undefined,
      nameFlow: () => undefined,
      podOf: () => undefined,
      notReady: () => undefined,
      ...naming,
    },
    symbols: { at: () => '' },
    log: quiet,
    nowMs,
    ...more,
  } as unknown as PipelineOptions;
  const pipeline = new Pipeline(options);
  t.after(() => pipeline.close());
  return {
    pipeline,
    given,
    tell: (batch) => opened.tell(batch),
    get rings() {
      return opened.rings;
    },
  };
}

/** What a test gives in place of the rest; a getter stays one. */
function withAll(rest: object, given: object = {}): object {
  return Object.defineProperties(rest, Object.getOwnPropertyDescriptors(given));
}

/** Follows everything; the notices that come. */
export function followAll(pipeline: Pipeline): { follower: Follower; notices: NoticeEvent[]; codes(): string[] } {
  const notices: NoticeEvent[] = [];
  const sink: Sink = {
    event: (event) => {
      if (event.kind === 'notice') notices.push(event);
    },
    resolved: () => undefined,
  };
  const follower = pipeline.follow({ targets: [{ kind: 'all' }], addresses: [], units: 'packets' }, sink, 'all');
  return { follower, notices, codes: () => notices.map(({ code }) => code) };
}

/** A follower that keeps what it is told. */
export function listener(): Sink & { events: KtraceEvent[]; resolvedCount: number } {
  return {
    events: [],
    resolvedCount: 0,
    event(event) {
      this.events.push(event);
    },
    resolved() {
      this.resolvedCount += 1;
    },
  };
}

/** The pipeline counts, and tells what it found, this often. */
export const COUNT_MS = 2000;

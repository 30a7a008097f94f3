import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type KernelStats, Tracer, type TracerOptions } from '../../../src/agent/kernel/tracer.ts';
import { type KernelSet, kernelTargets } from '../../../src/agent/pipeline/follow-set.ts';
import { decodeBatch } from '../../../src/event/decode.ts';
import { FLOW, FLOW_KEY } from '../../../src/event/layout.ts';
import type { Sighting } from '../../../src/event/sighting.ts';
import { loadNative } from '../../../src/native/load.ts';
import type { RingReader } from '../../../src/native/types.ts';

export const OBJECT_PATH = fileURLToPath(new URL('../../../build/bpf/ktrace.bpf.o', import.meta.url));
/** Where a packet is when its test run names no interface. */
export const LOOPBACK = 1;
export const ownNetns = (): number => statSync('/proc/self/ns/net').ino;

/** A tracer with the running kernel's everything; `more` changes that. */
export function openTracer(more: Partial<TracerOptions> = {}): Tracer {
  const defaults = {
    native: loadNative(),
    objectPath: OBJECT_PATH,
    netns: ownNetns(),
    ringBytes: 1 << 20,
    podRate: 0,
    attach: 'auto' as const,
  };
  return new Tracer({ ...defaults, ...more });
}

/** What a follower of these addresses stands for. */
export function followed(addresses: readonly string[], more: Partial<KernelSet> = {}): KernelSet {
  return {
    addresses: new Set(addresses),
    serviceAddresses: [],
    wantsEveryPacket: true,
    wantsBytes: true,
    ...more,
  };
}

/** The programs without a network, at an uplink: each packet is given to one by BPF_PROG_TEST_RUN. */
export class Bench {
  readonly tracer: Tracer;
  readonly #ring: RingReader;
  #seen: Sighting[] = [];
  malformed = 0;

  constructor(sets: KernelSet | readonly KernelSet[], ownAddresses: readonly string[] = [], more: Partial<TracerOptions> = {}) {
    this.tracer = openTracer(more);
    this.tracer.setVxlanPorts([8472, 4789]);
    this.tracer.setGenevePorts([6081]);
    this.tracer.setIpTunnels(true);
    this.tracer.setUplinks([LOOPBACK]);
    this.tracer.targets.set(kernelTargets([sets].flat(), ownAddresses));
    this.#ring = loadNative().readRing(this.tracer.object, 'sightings', { intervalMs: 60_000, unref: true }, (batch) => {
      this.malformed += decodeBatch(batch, (sighting) => this.#seen.push(sighting)).malformed;
    });
  }

  /** Gives the packet to the program, and what the ring has afterwards. */
  run(program: string, packet: Uint8Array, ifindex = 0): Sighting[] {
    this.tracer.object.testRun(program, packet, ifindex);
    return this.take();
  }

  take(): Sighting[] {
    this.#ring.drain();
    const seen = this.#seen;
    this.#seen = [];
    return seen;
  }

  /** How often the kernel has woken the ring's reader. */
  wakeups(): number {
    return this.#ring.stats().wakeups;
  }

  stats(): KernelStats {
    return this.tracer.stats();
  }

  flowEntries(): number {
    return flowEntries(this.tracer);
  }

  close(): void {
    this.#ring.close();
    this.tracer.close();
  }
}

/** How many the kernel's flow table has. */
export function flowEntries(tracer: Tracer): number {
  return tracer.object.mapEntries('flows').length / (FLOW_KEY.size + FLOW.size);
}

/** matched = emitted + counted + uncounted + cut + filtered + lost, by the kernel's own counters, none of them made by subtraction. */
export function isAccounted({
  matched,
  emitted,
  counted,
  uncounted,
  cut,
  filtered,
  lostRing,
  lostScratch,
}: KernelStats): boolean {
  return matched === emitted + counted + uncounted + cut + filtered + lostRing + lostScratch;
}

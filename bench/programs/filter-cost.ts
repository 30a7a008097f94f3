import { statSync } from 'node:fs';
import { defaultObject } from '../../src/agent/kernel/object-path.ts';
import { Tracer } from '../../src/agent/kernel/tracer.ts';
import { kernelTargets } from '../../src/agent/pipeline/follow-set.ts';
import { kernelPart } from '../../src/filter/evaluate/kernel-part.ts';
import { kernelProgram } from '../../src/filter/evaluate/kernel-program.ts';
import type { Expression } from '../../src/filter/language/ast.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { loadNative } from '../../src/native/load.ts';
import { interleaved, type Spread, spread } from '../stats.ts';

/** Nanoseconds of a run over those of an empty program. */
export interface FilterCost {
  /** A packet of somebody whom nobody follows. */
  stranger: Spread;
  /** A packet of a flow that is known, of which nothing is told. */
  counted: Spread;
  /** A packet that would be told (every one is asked for) and that the filter leaves out. */
  simple: Spread;
  twentyTerms: Spread;
  /** The same of a segment of a known connection, of which each term reads a byte and compares it. */
  simpleBytes: Spread;
  twentyTermsOfBytes: Spread;
}

const RUNS = 200_000;
const FOLLOWED = '10.0.0.1';
const [TCP, UDP] = [6, 17];
const SIMPLE = 'icmp';
const SIMPLE_BYTES = 'tcp[13] = 255';
/** Each is asked of a packet that is no TCP, which ends it, or of a segment that has none of these values. */
const TWENTY_TERMS = Array.from({ length: 20 }, (_, term) => `tcp[${12 + (term % 4)}] = ${201 + term}`).join(' or ');

/** What the programs take for one packet by a filter or another, by the kernel's own test runs: no network, so that nothing else is in it. */
export function measureFilterCost({ rounds }: { rounds: number }): FilterCost {
  const native = loadNative();
  const netns = statSync('/proc/self/ns/net').ino;
  const tracer = new Tracer({
    native,
    objectPath: defaultObject(),
    netns,
    ringBytes: 1 << 16,
    podRate: 0,
    attach: 'auto',
    keepFilters: true,
  });
  try {
    const run = (packet: Uint8Array, program = 'ktrace_in') => tracer.object.testRun(program, packet, 0, RUNS).durationNs;
    const follow = (wantsEveryPacket: boolean) => {
      const set = { addresses: new Set([FOLLOWED]), serviceAddresses: [], wantsEveryPacket, wantsBytes: false };
      tracer.targets.set(kernelTargets([set], []));
    };
    const filtered = (text: string, packet: Uint8Array) => () => {
      follow(true);
      tracer.setFilter(kernelProgram(kernelPart(parseFilter(text, 'live') as Expression, []) as Expression));
      // The first packet of a connection is told whatever it is asked: this run is of known ones.
      const ns = run(packet);
      tracer.setFilter(undefined);
      return ns;
    };
    const cases: Record<keyof FilterCost, () => number> = {
      stranger: () => run(datagram('10.9.0.1')),
      counted: () => {
        follow(false);
        return run(datagram(FOLLOWED));
      },
      simple: filtered(SIMPLE, datagram(FOLLOWED)),
      twentyTerms: filtered(TWENTY_TERMS, datagram(FOLLOWED)),
      simpleBytes: filtered(SIMPLE_BYTES, segment(FOLLOWED)),
      twentyTermsOfBytes: filtered(TWENTY_TERMS, segment(FOLLOWED)),
    };
    const names = Object.keys(cases) as (keyof FilterCost)[];
    const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<keyof FilterCost, number[]>;
    for (let round = 0; round < rounds; round++) {
      const emptyNs = run(datagram(FOLLOWED), 'ktrace_empty');
      for (const at of interleaved(names.length, round)) {
        const name = names[at] as keyof FilterCost;
        samples[name].push(cases[name]() - emptyNs);
      }
    }
    return Object.fromEntries(names.map((name) => [name, spread(samples[name])])) as unknown as FilterCost;
  } finally {
    tracer.close();
  }
}

/** 64 bytes of Ethernet, IPv4 and UDP. */
function datagram(from: string): Buffer {
  const frame = packet(from, UDP);
  frame.writeUInt16BE(4000, 34);
  frame.writeUInt16BE(53, 36);
  frame.writeUInt16BE(30, 38);
  return frame;
}

/** 64 bytes of Ethernet, IPv4 and TCP: an acknowledgement with data. */
function segment(from: string): Buffer {
  const frame = packet(from, TCP);
  frame.writeUInt16BE(4000, 34);
  frame.writeUInt16BE(6379, 36);
  frame.writeUInt32BE(1, 38);
  frame.writeUInt32BE(1, 42);
  frame.set([0x50, 0x10, 0x10, 0], 46);
  return frame;
}

function packet(from: string, protocol: number): Buffer {
  const frame = Buffer.alloc(64);
  frame.writeUInt16BE(0x0800, 12);
  frame[14] = 0x45;
  frame.writeUInt16BE(50, 16);
  frame[22] = 64;
  frame[23] = protocol;
  frame.set(from.split('.').map(Number), 26);
  frame.set([10, 9, 0, 2], 30);
  return frame;
}

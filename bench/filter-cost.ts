import { statSync } from 'node:fs';
import { kernelTargets } from '../src/agent/follow-set.ts';
import { defaultObject } from '../src/agent/object-path.ts';
import { Tracer } from '../src/agent/tracer.ts';
import type { Expression } from '../src/filter/ast.ts';
import { kernelPart } from '../src/filter/kernel-part.ts';
import { kernelProgram } from '../src/filter/kernel-program.ts';
import { parseFilter } from '../src/filter/parse.ts';
import { loadNative } from '../src/native/load.ts';
import { interleaved, type Spread, spread } from './stats.ts';

/** Nanoseconds of a run over those of an empty program. */
export interface FilterCost {
  /** A packet of somebody whom nobody follows. */
  stranger: Spread;
  /** A packet of a flow that is known, of which nothing is told. */
  counted: Spread;
  /** A packet that would be told (every one is asked for) and that the filter leaves out. */
  simple: Spread;
  twentyTerms: Spread;
}

const RUNS = 200_000;
const FOLLOWED = '10.0.0.1';
const SIMPLE = 'icmp';
/** Each is asked of a packet that is no TCP. */
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
    const run = (packet: Uint8Array, program = 'ktrace_ingress') => tracer.object.testRun(program, packet, 0, RUNS).durationNs;
    const follow = (wantsEveryPacket: boolean) => {
      const set = { addresses: new Set([FOLLOWED]), serviceAddresses: [], wantsEveryPacket, wantsBytes: false };
      tracer.setTargets(kernelTargets([set], []));
    };
    const filtered = (text: string) => () => {
      follow(true);
      tracer.setFilter(kernelProgram(kernelPart(parseFilter(text, 'live') as Expression, []) as Expression));
      const ns = run(datagram(FOLLOWED));
      tracer.setFilter(undefined);
      return ns;
    };
    const cases: Record<keyof FilterCost, () => number> = {
      stranger: () => run(datagram('10.9.0.1')),
      counted: () => {
        follow(false);
        return run(datagram(FOLLOWED));
      },
      simple: filtered(SIMPLE),
      twentyTerms: filtered(TWENTY_TERMS),
    };
    const names = Object.keys(cases) as (keyof FilterCost)[];
    const samples: Record<keyof FilterCost, number[]> = { stranger: [], counted: [], simple: [], twentyTerms: [] };
    for (let round = 0; round < rounds; round++) {
      const emptyNs = run(datagram(FOLLOWED), 'ktrace_empty');
      for (const at of interleaved(names.length, round)) {
        const name = names[at] as keyof FilterCost;
        samples[name].push(cases[name]() - emptyNs);
      }
    }
    const { stranger, counted, simple, twentyTerms } = samples;
    return {
      stranger: spread(stranger),
      counted: spread(counted),
      simple: spread(simple),
      twentyTerms: spread(twentyTerms),
    };
  } finally {
    tracer.close();
  }
}

/** 64 bytes of Ethernet, IPv4 and UDP. */
function datagram(from: string): Buffer {
  const frame = Buffer.alloc(64);
  frame.writeUInt16BE(0x0800, 12);
  frame[14] = 0x45;
  frame.writeUInt16BE(50, 16);
  frame[22] = 64;
  frame[23] = 17;
  frame.set(from.split('.').map(Number), 26);
  frame.set([10, 9, 0, 2], 30);
  frame.writeUInt16BE(4000, 34);
  frame.writeUInt16BE(53, 36);
  frame.writeUInt16BE(30, 38);
  return frame;
}

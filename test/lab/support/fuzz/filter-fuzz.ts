import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { compileFilter } from '../../../../src/filter/compile/compile.ts';
import { translate } from '../../../../src/filter/compile/ebpf.ts';
import type { Instruction } from '../../../../src/filter/compile/program.ts';
import { parseFilter } from '../../../../src/filter/language/parse.ts';
import { KtraceError } from '../../../../src/util/errors.ts';
import { randomLiveFilter } from '../../../filter/support/live-expressions.ts';
import type { Random } from '../../../filter/support/random.ts';
import { type FilterBench, shouldTake } from './filter-bench.ts';

export interface LoadCounts {
  /** Distinct programs that this kernel's verifier took. */
  loaded: number;
  compared: number;
  taken: number;
}

/** Loads generated filters, each program once, until there are `programs` of them or `isOver`; each decides some packets as user space does. */
export function fuzzPrograms(
  bench: FilterBench,
  random: Random,
  { programs, packetsEach, isOver }: { programs: number; packetsEach: number; isOver(): boolean },
): LoadCounts {
  const known = new Set<string>();
  const counts: LoadCounts = { loaded: 0, compared: 0, taken: 0 };
  while (counts.loaded < programs && !isOver()) {
    const { text, classic } = randomProgram(random);
    const program = translate({ ofPacket: classic });
    if (program === undefined) continue;
    const hash = createHash('sha1').update(program.code).digest('base64');
    if (known.has(hash)) continue;
    known.add(hash);
    bench.load(program);
    counts.loaded += 1;
    for (let count = 0; count < packetsEach; count++) {
      const packet = random.pick(bench.packets);
      const isTaken = bench.takes(packet);
      assert.equal(isTaken, shouldTake(classic, packet), `${text} of ${packet.bytes.toString('hex')}`);
      counts.compared += 1;
      if (isTaken) counts.taken += 1;
    }
  }
  bench.load(undefined);
  return counts;
}

/** Of any filter that is one classic program, not just of what the kernel is given of it. */
function randomProgram(random: Random): { text: string; classic: Instruction[] } {
  for (;;) {
    const text = randomLiveFilter(random, 0, false);
    try {
      return { text, classic: compileFilter(parseFilter(text, 'live'), 'raw') };
    } catch (error) {
      assert.ok(error instanceof KtraceError, `${text}: ${String(error)}`);
    }
  }
}

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Expression } from '../../../src/filter/ast.ts';
import { compileFilter } from '../../../src/filter/compile.ts';
import type { Place } from '../../../src/filter/cursor.ts';
import { translate } from '../../../src/filter/ebpf.ts';
import { kernelPart, kernelPartText } from '../../../src/filter/kernel-part.ts';
import { kernelProgram } from '../../../src/filter/kernel-program.ts';
import { parseFilter } from '../../../src/filter/parse.ts';
import { printFilter } from '../../../src/filter/print.ts';
import type { Instruction } from '../../../src/filter/program.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { randomLiveFilter } from '../../filter/support/live-expressions.ts';
import { mutated } from '../../filter/support/mutations.ts';
import type { Random } from '../../filter/support/random.ts';
import { type FilterBench, shouldTake } from './filter-bench.ts';

export interface ReadCounts {
  inputs: number;
  understood: number;
  /** Made into programs of the kernel's. */
  translated: number;
}

/** Gives the parser, the compiler and the translator `inputs` texts, right and wrong ones: all that may be thrown is a filter's error. */
export function fuzzTexts(random: Random, inputs: number): ReadCounts {
  const counts: ReadCounts = { inputs: 0, understood: 0, translated: 0 };
  while (counts.inputs < inputs) {
    const right = randomLiveFilter(random);
    const text = random.below(2) === 0 ? right : mutated(random, right);
    const place = random.pick<Place | undefined>(['live', 'file', undefined]);
    counts.inputs += 1;
    const expression = parsed(text, place);
    if (expression === undefined) continue;
    counts.understood += 1;
    const printed = printFilter(expression);
    assert.equal(printFilter(parseFilter(printed, place) as Expression), printed, text);
    if (place !== 'live') continue;
    const part = kernelPart(expression, [8472]);
    if (part === undefined) continue;
    parseFilter(kernelPartText(part), 'live');
    if (kernelProgram(part) !== undefined) counts.translated += 1;
  }
  return counts;
}

/** Only a filter's own error may come of a text. */
function parsed(text: string, place: Place | undefined): Expression | undefined {
  try {
    return parseFilter(text, place);
  } catch (error) {
    assert.ok(error instanceof KtraceError && error.code === 'KTRACE_E_FILTER', `${JSON.stringify(text)}: ${String(error)}`);
    return undefined;
  }
}

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
    const program = translate(classic, { passesNewFlows: false });
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

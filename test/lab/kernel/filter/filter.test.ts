import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { compileFilter } from '../../../../src/filter/compile/compile.ts';
import { translate } from '../../../../src/filter/compile/ebpf.ts';
import type { KernelProgram } from '../../../../src/filter/compile/ebpf-assembly.ts';
import type { Instruction } from '../../../../src/filter/compile/program.ts';
import { kernelPart } from '../../../../src/filter/evaluate/kernel-part.ts';
import { kernelProgram, kernelQuestions } from '../../../../src/filter/evaluate/kernel-program.ts';
import type { Expression } from '../../../../src/filter/language/ast.ts';
import { parseFilter } from '../../../../src/filter/language/parse.ts';
import { randomOf } from '../../../filter/support/random.ts';
import { FILTERS } from '../../../filter/support/table.ts';
import { before } from '../../../support/evidence.ts';
import { SEED } from '../../../support/seed.ts';
import { FilterBench, shouldTake } from '../../support/fuzz/filter-bench.ts';
import { fuzzPrograms } from '../../support/fuzz/filter-fuzz.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';

const PACKETS = 300;

suite('a filter in the kernel', { skip: SKIP }, () => {
  let bench: FilterBench;
  before(() => {
    bench = new FilterBench(randomOf(SEED), PACKETS);
  });
  after(() => bench.close());

  test('decides as user space does, by every filter of the table that has a part for it, and by the whole of each', (t) => {
    const loaded = { parts: 0, whole: 0 };
    const compare = (text: string, asked: (readonly Instruction[])[], program: KernelProgram | undefined): boolean => {
      if (program === undefined) return false;
      bench.load(program);
      for (const packet of bench.packets)
        assert.equal(
          bench.takes(packet),
          asked.every((classic) => shouldTake(classic, packet)),
          text,
        );
      return true;
    };
    for (const text of FILTERS) {
      const part = partOf(text);
      if (part !== undefined && compare(text, Object.values(kernelQuestions(part)), kernelProgram(part))) loaded.parts += 1;
      const whole = programOf(text);
      if (whole !== undefined && compare(text, [whole], translate({ ofPacket: whole }))) loaded.whole += 1;
    }
    t.diagnostic(JSON.stringify(loaded));
    assert.ok(loaded.parts > 60 && loaded.whole > 120, JSON.stringify(loaded));
    assert.ok(isAccounted(bench.tracer.stats()), JSON.stringify(bench.tracer.stats()));
  });

  test(`decides as user space does, by generated programs, each of which the verifier takes (seed ${SEED})`, (t) => {
    const counts = fuzzPrograms(bench, randomOf(SEED + 1), { programs: 1500, packetsEach: 8, isOver: () => false });
    t.diagnostic(JSON.stringify(counts));
    assert.ok(counts.taken > counts.compared / 20 && counts.taken < (counts.compared * 19) / 20, JSON.stringify(counts));
  });

  test('is taken away, and put in place of another one, with the next packet', () => {
    const [udp] = bench.packets.filter(({ sighting }) => sighting.proto === 17);
    assert.ok(udp);
    for (const [text, isTaken] of [
      ['icmp', false],
      [undefined, true],
      ['inner udp', true],
      ['tcp', false],
    ] as const) {
      bench.load(text === undefined ? undefined : kernelProgram(partOf(text)!));
      assert.equal(bench.takes(udp), isTaken, text ?? 'no filter');
    }
    bench.load(undefined);
  });
});

function partOf(text: string): Expression | undefined {
  const expression = parsed(text);
  return expression === undefined ? undefined : kernelPart(expression, []);
}

/** Of the whole filter, though a follow's is decided in part alone. */
function programOf(text: string): Instruction[] | undefined {
  const expression = parsed(text);
  return expression === undefined ? undefined : compileFilter(expression, 'raw');
}

/** Words for frames have no meaning on a follow. */
function parsed(text: string): Expression | undefined {
  try {
    return parseFilter(text, 'live');
  } catch {
    return undefined;
  }
}

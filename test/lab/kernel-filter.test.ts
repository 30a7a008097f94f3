import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { kernelPart } from '../../src/filter/kernel-part.ts';
import { kernelCode, kernelProgram } from '../../src/filter/kernel-program.ts';
import { parseFilter } from '../../src/filter/parse.ts';
import { randomOf } from '../filter/support/random.ts';
import { FILTERS } from '../filter/support/table.ts';
import { before } from '../support/evidence.ts';
import { SEED } from '../support/seed.ts';
import { SKIP } from './lab-fixture.ts';
import { FilterBench, shouldTake } from './support/filter-bench.ts';
import { fuzzPrograms } from './support/filter-fuzz.ts';
import { isAccounted } from './support/kernel.ts';

const PACKETS = 300;

suite('a filter in the kernel', { skip: SKIP }, () => {
  let bench: FilterBench;
  before(() => {
    bench = new FilterBench(randomOf(SEED), PACKETS);
  });
  after(() => bench.close());

  test('decides as user space does, by every filter of the table that has a part for it', (t) => {
    let loaded = 0;
    for (const text of FILTERS) {
      const part = partOf(text);
      const program = part === undefined ? undefined : kernelProgram(part);
      if (part === undefined || program === undefined) continue;
      bench.load(program);
      loaded += 1;
      for (const packet of bench.packets) assert.equal(bench.takes(packet), shouldTake(kernelCode(part), packet), text);
    }
    t.diagnostic(`${loaded} programs`);
    assert.ok(loaded > 60, `only ${loaded} filters have a part for the kernel`);
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

function partOf(text: string) {
  try {
    return kernelPart(parseFilter(text, 'live')!, []);
  } catch {
    // Words for frames have no meaning on a follow.
    return undefined;
  }
}

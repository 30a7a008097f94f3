/**
 * `npm run fuzz:filters [-- --inputs N --programs N --seed N]`: what the filter language makes of generated texts, and this kernel of generated programs.
 * The texts go to the parser, the compilers and the translator, and none may take long; the programs are really loaded, each distinct one once, and decide
 * packets as user space does, which needs root; `--programs 0` loads none. The seed is printed first: with it a failure comes again. On the other kernels:
 * `KTRACE_TEST_FILTER_PROGRAMS=20000 KTRACE_TEST_FILTER_MS=7200000 node --test test/vm/filters.test.ts`, with `KTRACE_TEST_SEED` for another seed.
 */
import { parseArgs } from 'node:util';
import { fuzzTexts } from '../test/filter/support/fuzz-texts.ts';
import { randomOf } from '../test/filter/support/random.ts';
import { FilterBench } from '../test/lab/support/fuzz/filter-bench.ts';
import { fuzzPrograms } from '../test/lab/support/fuzz/filter-fuzz.ts';

const PACKETS = 400;
const PACKETS_EACH = 6;
/** CPU of one text. */
const MOST_MS = 1000;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    programs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
const seed = Number(values.seed);
console.log(`seed ${seed}`);

const texts = fuzzTexts(randomOf(seed), Number(values.inputs));
console.log(`texts: ${JSON.stringify(texts)}`);
if (texts.slowestMs > MOST_MS) throw new Error(`A text took ${texts.slowestMs} ms of CPU, more than ${MOST_MS}`);
if (values.programs === '0') process.exit();

const bench = new FilterBench(randomOf(seed + 1), PACKETS);
try {
  const programs = Number(values.programs);
  const counts = fuzzPrograms(bench, randomOf(seed + 2), { programs, packetsEach: PACKETS_EACH, isOver: () => false });
  console.log(`programs: ${JSON.stringify(counts)}`);
} finally {
  bench.close();
}

/**
 * `npm run fuzz:filters [-- --inputs N --programs N --seed N]`: what the filter language makes of generated texts, and this kernel of generated programs.
 * The texts go to the parser, the compiler and the translator; the programs are really loaded, each distinct one once, and decide packets as user space
 * does. Needs root. The seed is printed first: with it a failure comes again.
 */
import { parseArgs } from 'node:util';
import { randomOf } from '../test/filter/support/random.ts';
import { FilterBench } from '../test/lab/support/filter-bench.ts';
import { fuzzPrograms, fuzzTexts } from '../test/lab/support/filter-fuzz.ts';

const PACKETS = 400;
const PACKETS_EACH = 6;

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

const bench = new FilterBench(randomOf(seed + 1), PACKETS);
try {
  const programs = Number(values.programs);
  const counts = fuzzPrograms(bench, randomOf(seed + 2), { programs, packetsEach: PACKETS_EACH, isOver: () => false });
  console.log(`programs: ${JSON.stringify(counts)}`);
} finally {
  bench.close();
}

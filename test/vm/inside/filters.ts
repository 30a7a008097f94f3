/** `filters.ts OBJECT SEED PROGRAMS LIMIT_MS`: generated filters really loaded here, deciding as user space does; says what was reached as JSON. */
import { writeSync } from 'node:fs';
import { randomOf } from '../../filter/support/random.ts';
import { FilterBench } from '../../lab/support/fuzz/filter-bench.ts';
import { fuzzPrograms } from '../../lab/support/fuzz/filter-fuzz.ts';

const PACKETS = 60;
const PACKETS_EACH = 4;

const [objectPath = '', seed = '', programs = '', limitMs = ''] = process.argv.slice(2);
const bench = new FilterBench(randomOf(Number(seed)), PACKETS, objectPath);
const end = performance.now() + Number(limitMs);
const counts = fuzzPrograms(bench, randomOf(Number(seed) + 1), {
  programs: Number(programs),
  packetsEach: PACKETS_EACH,
  isOver: () => performance.now() > end,
});
bench.close();
writeSync(1, `${JSON.stringify(counts)}\n`);

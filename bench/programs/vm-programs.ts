/** `npm run bench:vm [-- --rounds N --pings N]`: what the programs on the kernel's own functions cost, on the kernels of test/vm; the table on stdout. */
import { parseArgs } from 'node:util';
import { measureInMachine } from '../../test/vm/cost.ts';
import { kernelImage } from '../../test/vm/machine/kernel-image.ts';
import { KERNELS } from '../../test/vm/machine/kernels.ts';
import { missing, NEEDED_TO_BOOT } from '../../test/vm/machine/needed.ts';
import { table } from '../table.ts';
import { costRows } from './vm-report.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '7' }, pings: { type: 'string', default: '100' } },
});
const [rounds, pings] = [Number(values.rounds), Number(values.pings)];
const lacks = process.getuid?.() === 0 ? missing(NEEDED_TO_BOOT) : 'needs root: all files for the guest';
if (![rounds, pings].every((value) => Number.isInteger(value) && value > 0))
  fail('Expected whole numbers for --rounds and --pings', 2);
if (lacks !== false) fail(lacks, 1);

for (const kernel of KERNELS) {
  const image = await kernelImage(kernel);
  process.stderr.write(`bench: ${image.release} under emulation\n`);
  const { costs } = await measureInMachine(image, { rounds, pings });
  const heading = ['backend', 'traffic', 'program', 'runs', 'ns', 'times the empty one'];
  process.stdout.write(
    `Linux ${image.release}, emulated: nanoseconds per run by the kernel’s own count, ${rounds} rounds: median (quartiles)\n${table([heading, ...costRows(costs)])}\n`,
  );
}

function fail(text: string, code: number): never {
  process.stderr.write(`bench: ${text}\n`);
  process.exit(code);
}

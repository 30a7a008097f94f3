/**
 * `npm run soak [-- --for 20m]`: agents and gates of a lab under churn of pods, objects, links and clients; at the end a table, and whether memory
 * stayed flat and nothing was leaked. Not for CI: it takes its time.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { parseDuration } from '../src/cli/options/duration.ts';
import type { Lab } from '../src/lab/lab.ts';
import { waitFor } from '../src/lab/machine/wait.ts';
import { labUp } from '../src/lab/up.ts';
import { messageOf } from '../src/util/errors.ts';
import { churn } from './soak/churn.ts';
import { attached, type Sample, sample } from './soak/figures.ts';
import { judge, SHORTEST_MINUTES, type Timed, type Verdict } from './soak/verdict.ts';

const SAMPLE_MS = 5_000;
/** A session outlives its killed client by a minute. */
const REST_MS = 120_000;
const WARM_UP_SHARE = 0.1;

const { values } = parseArgs({ options: { for: { type: 'string', default: '20m' } } });
const totalMs = parseDuration('--for', values.for);
const progress = (text: string) => void process.stderr.write(`soak: ${text}\n`);
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => interrupted.abort());

const lab = await labUp({ name: `soak${process.pid}`, bound: true, progress });
try {
  await run(lab);
} catch (error) {
  progress(messageOf(error));
  process.exitCode = 1;
} finally {
  await lab.down();
}

async function run(lab: Lab): Promise<void> {
  progress('warming up');
  await churnFor(lab, totalMs * WARM_UP_SHARE, () => undefined);
  const before = await rest(lab);
  progress(`at rest after the warm-up; going on for ${Math.round((totalMs * (1 - WARM_UP_SHARE)) / 1000)} s`);
  const busy: Timed[] = [];
  const startMs = performance.now();
  const counts = await churnFor(lab, totalMs * (1 - WARM_UP_SHARE), () => {
    busy.push({ minutes: (performance.now() - startMs) / 60_000, sample: sample(lab) });
  });
  const verdict = judge([before, await rest(lab)], busy);
  process.stdout.write(
    `${table(verdict)}\n${Object.entries(counts)
      .map(([what, n]) => `${n} ${what}`)
      .join(', ')}\n`,
  );
  if (busy.length === 0) throw new Error('nothing was measured');
  if (totalMs < SHORTEST_MINUTES * 60_000) progress(`memory is judged from ${SHORTEST_MINUTES} minutes on`);
  for (const problem of verdict.problems) process.stdout.write(`PROBLEM: ${problem}\n`);
  process.stdout.write(verdict.problems.length === 0 ? 'nothing has grown\n' : '');
  process.exitCode = verdict.problems.length === 0 && !interrupted.signal.aborted ? 0 : 1;
}

async function churnFor(lab: Lab, ms: number, onSample: () => void): ReturnType<typeof churn> {
  const over = AbortSignal.any([interrupted.signal, AbortSignal.timeout(ms)]);
  const timer = setInterval(onSample, SAMPLE_MS);
  try {
    return await churn(lab, over);
  } finally {
    clearInterval(timer);
  }
}

/** Waits until nothing is attached anywhere, which it must come to when nobody follows, and gives what is held then. */
async function rest(lab: Lab): Promise<Sample> {
  const isQuiet = await waitFor(async () => (await attached(lab)) === 0, REST_MS, 1000);
  if (isQuiet === undefined) throw new Error('programs stay attached though nobody follows');
  await delay(SAMPLE_MS);
  return sample(lab);
}

function table({ rows }: Verdict): string {
  const mib = (bytes: number) => (bytes / 1024 / 1024).toFixed(1);
  const head = ['process', 'MiB at rest', 'peak', 'MiB/min', 'files', 'maps', 'programs', 'links'];
  const lines = rows.map(({ name, first, last, mibPerMinute, peakMib }) => [
    name,
    `${mib(first.residentBytes)} > ${mib(last.residentBytes)}`,
    peakMib.toFixed(1),
    mibPerMinute.toFixed(2),
    ...(['files', 'maps', 'programs', 'links'] as const).map((what) => `${first[what]} > ${last[what]}`),
  ]);
  const widths = head.map((_, at) => Math.max(...[head, ...lines].map((line) => (line[at] ?? '').length)));
  return [head, ...lines]
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

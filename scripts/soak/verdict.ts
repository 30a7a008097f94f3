import type { Figures, Sample } from './figures.ts';

/** A sample of the run and when it was taken. */
export interface Timed {
  minutes: number;
  sample: Sample;
}

export interface Verdict {
  rows: { name: string; first: Figures; last: Figures; mibPerMinute: number; peakMib: number }[];
  /** What has grown; empty when the run is good. */
  problems: string[];
}

/** Shorter than this, memory that settles cannot be told from memory that leaks. */
export const SHORTEST_MINUTES = 10;
/** Node's heap breathes by more than this within a minute, and over twenty by far less. */
const MOST_MIB_PER_MINUTE = 0.5;
const MIB = 1024 * 1024;
const COUNTED = ['files', 'maps', 'programs', 'links'] as const;

/**
 * What a run has shown: `rests` were taken while nobody followed, at the beginning (after a warm-up) and at the end; `busy` in between. Memory is
 * judged by the slope of a line through the second half of `busy`, by least squares.
 */
export function judge(rests: readonly [Sample, Sample], busy: readonly Timed[]): Verdict {
  const [before, after] = rests;
  const spanMinutes = (busy.at(-1)?.minutes ?? 0) - (busy[0]?.minutes ?? 0);
  const half = busy.filter(({ minutes }) => minutes - (busy[0]?.minutes ?? 0) >= spanMinutes / 2);
  const verdict: Verdict = { rows: [], problems: [] };
  for (const [name, first] of Object.entries(before)) {
    const last = after[name];
    if (last === undefined) {
      verdict.problems.push(`${name} is gone`);
      continue;
    }
    const points = (from: readonly Timed[]) =>
      from.flatMap(({ minutes, sample }) => (sample[name] ? [{ x: minutes, y: sample[name].residentBytes / MIB }] : []));
    const mibPerMinute = slope(points(half));
    const peakMib = Math.max(...points(busy).map(({ y }) => y));
    verdict.rows.push({ name, first, last, mibPerMinute, peakMib });
    if (spanMinutes >= SHORTEST_MINUTES && mibPerMinute > MOST_MIB_PER_MINUTE) {
      verdict.problems.push(`${name} grows by ${mibPerMinute.toFixed(2)} MiB a minute`);
    }
    for (const what of COUNTED) {
      if (last[what] > first[what]) verdict.problems.push(`${name} has ${last[what]} ${what} at rest, and had ${first[what]}`);
    }
  }
  return verdict;
}

function slope(points: readonly { x: number; y: number }[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const x = mean(points.map((point) => point.x));
  const y = mean(points.map((point) => point.y));
  const spread = points.reduce((sum, point) => sum + (point.x - x) ** 2, 0);
  return spread === 0 ? 0 : points.reduce((sum, point) => sum + (point.x - x) * (point.y - y), 0) / spread;
}

import type { Lab } from '../src/lab/lab.ts';
import { messageOf } from '../src/util/errors.ts';
import type { Case } from './cases.ts';
import { interleaved } from './stats.ts';

export interface SideBySide {
  /** The first is what the others are held against. */
  cases: readonly Case[];
  rounds: number;
  signal: AbortSignal;
  progress(text: string): void;
  /** Told of a round of one case that failed: its figures are missing, the others go on. */
  failed(text: string): void;
}

/**
 * In each round every case once, in another order, each with its own start and end. Gives what was measured by case and round; undefined where that failed.
 * Ends early where a case cannot be ended, as what it attached would be measured with the next.
 */
export async function measureSideBySide<T>(
  lab: Lab,
  { cases, rounds, signal, progress, failed }: SideBySide,
  measure: (watching: Awaited<ReturnType<Case['start']>>) => Promise<T>,
): Promise<(T | undefined)[][]> {
  const results: (T | undefined)[][] = cases.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const at of interleaved(cases.length, round)) {
      const { title, start } = cases[at] as Case;
      const place = `round ${round + 1} of ${rounds}: ${title}`;
      signal.throwIfAborted();
      progress(place);
      let stop: (() => Promise<void>) | undefined;
      try {
        const watching = await start(lab);
        stop = watching.stop;
        (results[at] as (T | undefined)[])[round] = await measure(watching);
      } catch (error) {
        signal.throwIfAborted();
        failed(`${place}: ${messageOf(error)}`);
      }
      try {
        await stop?.();
      } catch (error) {
        failed(`${place}: ${messageOf(error)}; no further round`);
        return results;
      }
    }
  }
  return results;
}

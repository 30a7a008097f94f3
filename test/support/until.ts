import { waitFor } from '../../src/lab/machine/wait.ts';

/** Long: a machine of two cores may be busy with other tests. It is spent only where something is wrong. */
export const PATIENCE_MS = 60_000;

/** Tries the assertions until they hold, and gives what they give; throws the one that failed last. */
export async function untilHolds<T>(what: string, check: () => T | Promise<T>, timeoutMs = PATIENCE_MS): Promise<T> {
  let failed: unknown;
  const attempt = async (): Promise<{ given: T } | false> => {
    try {
      return { given: await check() };
    } catch (error) {
      failed = error;
      return false;
    }
  };
  try {
    return (await until(what, attempt, timeoutMs)).given;
  } catch (error) {
    if (failed instanceof Error) failed.message = `${what}: ${failed.message}`;
    throw failed ?? error;
  }
}

/** Asks until the answer is neither undefined nor false, and gives it; fails by the description. */
export async function until<T>(
  what: string,
  ask: () => T | Promise<T>,
  timeoutMs = PATIENCE_MS,
): Promise<Exclude<T, undefined | false>> {
  const answer = await waitFor(ask, timeoutMs);
  if (answer === undefined) throw new Error(`${what}: not within ${timeoutMs} ms`);
  return answer;
}

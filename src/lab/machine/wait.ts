import { setTimeout as delay } from 'node:timers/promises';

/** Asks until the answer is neither undefined nor false, and gives it; undefined when `timeoutMs` are over. */
export async function waitFor<T>(
  ask: () => T | Promise<T>,
  timeoutMs: number,
  everyMs = 20,
): Promise<Exclude<T, undefined | false> | undefined> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
    if (performance.now() >= end) return undefined;
    await delay(everyMs);
  }
}

/** As `Promise.all`, but a failure is told only when all have ended: what is cleaned up then is not made anew meanwhile. */
export async function allDone<const T extends readonly unknown[]>(
  promises: T,
): Promise<{ -readonly [P in keyof T]: Awaited<T[P]> }> {
  const results = await Promise.allSettled(promises);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as {
    -readonly [P in keyof T]: Awaited<T[P]>;
  };
}

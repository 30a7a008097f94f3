import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import type { Lab } from '../../src/lab/lab.ts';
import { removeLab } from '../../src/lab/remove.ts';
import { type LabOptions, labUp } from '../../src/lab/up.ts';
import { waitFor } from '../../src/lab/wait.ts';

/** Why lab tests cannot run here; undefined: they can. */
export const SKIP = process.getuid?.() === 0 ? false : 'needs root: the lab makes network namespaces';

/** A name that no other run uses. */
export function randomLabName(): string {
  return `t${randomBytes(5).toString('hex')}`;
}

/** A lab for the time of a test (or of a suite's hooks), removed whatever happens. */
export async function labForTest(t: Pick<TestContext, 'after'>, options: LabOptions = {}): Promise<Lab> {
  const name = options.name ?? randomLabName();
  t.after(() => removeLab(name, options.root));
  return labUp({ bound: true, agents: false, ...options, name });
}

/** Waits for a condition and fails by its description. */
export async function until<T>(
  what: string,
  ask: () => T | Promise<T>,
  timeoutMs = 10_000,
): Promise<Exclude<T, undefined | false>> {
  const answer = await waitFor(ask, timeoutMs, 50);
  if (answer === undefined) throw new Error(`${what}: not within ${timeoutMs} ms`);
  return answer;
}

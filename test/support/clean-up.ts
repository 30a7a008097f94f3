import type { TestContext } from 'node:test';

const steps = new WeakMap<TestContext, (() => unknown)[]>();

/** Undoes something after the test, what was made last first: a folder goes behind what writes into it. One step that fails keeps no other from being made. */
export function cleanUp(t: TestContext, step: () => unknown): void {
  const known = steps.get(t);
  if (known !== undefined) {
    known.push(step);
    return;
  }
  const all = [step];
  steps.set(t, all);
  t.after(async () => {
    const failures: unknown[] = [];
    for (const one of all.reverse()) {
      try {
        await one();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures.length === 1 ? failures[0] : new AggregateError(failures);
  });
}

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

/** The body of a URL as seen from a node, a pod or the switch; rejects with the error's code, e.g. `ECONNREFUSED`. */
export function fetchFrom(lab: Lab, target: string, url: string): Promise<string> {
  const script = `fetch(process.argv[1], { signal: AbortSignal.timeout(2000) })
    .then((answer) => answer.text())
    .then((text) => process.stdout.write(text), (error) => { console.error(error.cause?.code ?? error); process.exit(1); })`;
  return lab.exec(target, ['env', `NODE_EXTRA_CA_CERTS=${lab.directory}/ca.crt`, process.execPath, '-e', script, url]);
}

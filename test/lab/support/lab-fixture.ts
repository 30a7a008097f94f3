import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { agentSocket } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { labUp as bringUp, type LabOptions } from '../../../src/lab/up.ts';
import { unixGet } from '../../agent/serve/unix-get.ts';
import { needsRoot } from '../../support/capability.ts';
import { keepOnFailure } from '../../support/evidence.ts';

/** Why lab tests cannot run here; undefined: they can. */
export const SKIP = needsRoot('the lab makes network namespaces');

/** A name that no other run uses. */
export function randomLabName(): string {
  return `t${randomBytes(5).toString('hex')}`;
}

/** A lab whose logs, metrics and interfaces are kept when a test fails. */
export async function labUp(options: LabOptions): Promise<Lab> {
  const lab = await bringUp(options);
  keepOnFailure(`lab-${lab.name}`, (folder) => keepLab(lab, folder));
  return lab;
}

async function keepLab(lab: Lab, folder: string): Promise<void> {
  cpSync(join(lab.directory, 'log'), folder, { recursive: true });
  for (const { name } of lab.nodes) {
    const told = (error: unknown): string => String(error);
    writeFileSync(join(folder, `${name}-links.txt`), await lab.exec(name, ['ip', '-s', 'link']).catch(told));
    if (!existsSync(agentSocket(lab.directory, name))) continue;
    writeFileSync(join(folder, `${name}-metrics.txt`), await unixGet(agentSocket(lab.directory, name), '/metrics').catch(told));
  }
}

/** A lab for the time of a test (or of a suite's hooks), removed whatever happens. */
export async function labForTest(t: Pick<TestContext, 'after'>, options: LabOptions = {}): Promise<Lab> {
  const name = options.name ?? randomLabName();
  t.after(() => removeLab(name, options.root));
  return labUp({ bound: true, agents: false, ...options, name });
}

/** The body of a URL as seen from a node, a pod or the switch; rejects with the error's code, e.g. `ECONNREFUSED`. */
export function fetchFrom(lab: Lab, target: string, url: string): Promise<string> {
  const script = `fetch(process.argv[1], { signal: AbortSignal.timeout(2000) })
    .then((answer) => answer.text())
    .then((text) => process.stdout.write(text), (error) => { console.error(error.cause?.code ?? error); process.exit(1); })`;
  return lab.exec(target, ['env', `NODE_EXTRA_CA_CERTS=${lab.directory}/ca.crt`, process.execPath, '-e', script, url]);
}

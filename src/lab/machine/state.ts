import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { badArgument } from '../../util/errors.ts';
import type { LabPod } from '../plan/plan.ts';
import { isRunning, type ProcessId } from './proc.ts';

/** What a lab remembers of itself, in `lab.json` of its directory. */
export interface LabState {
  name: string;
  /** `starting` until everything stands: a lab whose owner died in this phase is half of one. */
  phase: 'starting' | 'up';
  /** Who started it. A lab that is `bound` to its owner (a demo, a test) is left over when the owner is gone. */
  owner: ProcessId;
  bound: boolean;
  pods: LabPod[];
  apiPort: number;
  agents: boolean;
  traffic: boolean;
  /** Agents record what pods do. */
  records: boolean;
}

/** Where labs live: one directory each. */
export function labRoot(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(env['KTRACE_LAB_DIR'] ?? '/run/ktrace-lab');
}

/** The directory of a lab; throws for a name that could not be one. */
export function labDirectory(name: string, root: string = labRoot()): string {
  if (!/^[a-z][a-z0-9]{0,19}$/.test(name)) {
    throw badArgument('--name', 'a lab name of up to 20 lower-case letters and digits, a letter first', name);
  }
  return join(root, name);
}

/** The state of a lab; undefined when there is none or its start was cut off before it wrote one. */
export function readState(directory: string): LabState | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, 'lab.json'), 'utf8')) as LabState;
  } catch {
    return undefined;
  }
}

/** Writes the state so that a reader, or a kill in the middle, sees the old one or the new one. */
export function writeState(directory: string, state: LabState): void {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  writeAtomically(join(directory, 'lab.json'), JSON.stringify(state));
}

/** Replaces a file in one step, readable by its owner only. */
export function writeAtomically(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Names of all labs that have a directory. */
export function labNames(root: string = labRoot()): string[] {
  return existsSync(root)
    ? readdirSync(root, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name)
    : [];
}

/** Whether a directory holds what a killed start, or the end of a bound lab's owner, left behind. */
export function isLeftover(directory: string): boolean {
  const state = readState(directory);
  if (state === undefined) return true;
  return (state.phase === 'starting' || state.bound) && !isRunning(state.owner);
}

/** The lab to use when none is named: `default`, else the only one that stands. A few file reads, no more. */
export function findStandingLab(root: string = labRoot()): { name: string; kubeconfig: string } | undefined {
  const standing = labNames(root).filter((name) => readState(join(root, name))?.phase === 'up');
  const name = standing.includes('default') ? 'default' : standing.length === 1 ? standing[0] : undefined;
  return name === undefined ? undefined : { name, kubeconfig: join(root, name, 'kubeconfig') };
}

import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { findProcesses, hasEnvironment, identify, isRunning, type ProcessId, signal } from './proc.ts';
import { toolEnvironment } from './run.ts';

/** Marks every process of a lab in its environment, so that none is missed, whatever was killed when. */
export const STATE_VARIABLE = 'KTRACE_LAB_STATE';
/** Names the part of the lab a process (and what it starts in turn) belongs to. */
const PART_VARIABLE = 'KTRACE_LAB_PART';

export interface LabProcess extends ProcessId {
  name: string;
}

/**
 * Starts a process of the lab that outlives this one: its own process group, output to `log/NAME.log`, recorded in
 * `procs/NAME.json`.
 */
export function startProcess(directory: string, name: string, argv: readonly string[], env: NodeJS.ProcessEnv = {}): LabProcess {
  mkdirSync(join(directory, 'log'), { recursive: true });
  mkdirSync(join(directory, 'procs'), { recursive: true });
  const log = openSync(logFile(directory, name), 'a', 0o644);
  const [program = '', ...args] = argv;
  let failure: Error | undefined;
  const child = spawn(program, args, {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: directory,
    env: { ...toolEnvironment(), ...env, [STATE_VARIABLE]: directory, [PART_VARIABLE]: name },
  });
  child.on('error', (error) => {
    failure = error;
  });
  child.unref();
  closeSync(log);
  if (child.pid === undefined) {
    throw new KtraceError('KTRACE_E_LAB_START', `${name} cannot be started: ${messageOf(failure ?? `no program ${program}`)}`);
  }
  const started = { name, pid: child.pid, startTime: identify(child.pid)?.startTime ?? '' };
  writeFileSync(recordFile(directory, name), JSON.stringify(started));
  return started;
}

/** The recorded process of this name, running or not. */
export function recordedProcess(directory: string, name: string): LabProcess | undefined {
  return existsSync(recordFile(directory, name))
    ? (JSON.parse(readFileSync(recordFile(directory, name), 'utf8')) as LabProcess)
    : undefined;
}

/** All recorded processes, running or not, in the order of their names. */
export function recordedProcesses(directory: string): LabProcess[] {
  if (!existsSync(join(directory, 'procs'))) return [];
  return readdirSync(join(directory, 'procs'))
    .sort()
    .map((file) => recordedProcess(directory, file.slice(0, -'.json'.length)))
    .filter((record) => record !== undefined);
}

/** Ends one part of the lab with all it started; with SIGTERM it has `graceMs` to go by itself. */
export async function stopProcess(directory: string, name: string, first: 'SIGTERM' | 'SIGKILL', graceMs = 3000): Promise<void> {
  await endAll(() => partOf(directory, name), first, graceMs);
  rmSync(recordFile(directory, name), { force: true });
}

/**
 * Ends all processes that `find` gives, and those they start meanwhile, and returns when there is none.
 *
 * @throws KtraceError `KTRACE_E_LAB_STOP` when some are still there 5 s after SIGKILL
 */
export async function endAll(find: () => ProcessId[], first: 'SIGTERM' | 'SIGKILL', graceMs = 3000): Promise<void> {
  for (const id of find()) signal(id, first);
  if (await waitUntilGone(find, first === 'SIGTERM' ? graceMs : 0)) return;
  for (let round = 0; round < 5; round++) {
    for (const id of find()) signal(id, 'SIGKILL');
    if (await waitUntilGone(find, 1000)) return;
  }
  const pids = find().map((id) => id.pid);
  throw new KtraceError('KTRACE_E_LAB_STOP', `Processes of the lab do not end: ${pids.join(', ')}`);
}

/** The last lines of a process's log, for an error message. */
export function logTail(directory: string, name: string, lines = 15): string {
  const file = logFile(directory, name);
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '';
}

function logFile(directory: string, name: string): string {
  return join(directory, 'log', `${name}.log`);
}

function partOf(directory: string, name: string): ProcessId[] {
  const recorded = recordedProcess(directory, name);
  const marked = findProcesses(
    (pid) => hasEnvironment(pid, STATE_VARIABLE, directory) && hasEnvironment(pid, PART_VARIABLE, name),
  );
  const isMissing = recorded !== undefined && isRunning(recorded) && !marked.some((id) => id.pid === recorded.pid);
  return isMissing ? [recorded, ...marked] : marked;
}

async function waitUntilGone(find: () => ProcessId[], timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  while (find().length > 0) {
    if (performance.now() >= end) return false;
    await delay(15);
  }
  return true;
}

function recordFile(directory: string, name: string): string {
  return join(directory, 'procs', `${name}.json`);
}

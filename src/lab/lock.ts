import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KtraceError } from '../util/errors.ts';
import { identify, isRunning, type ProcessId } from './proc.ts';
import { waitFor } from './wait.ts';

const TIMEOUT_MS = 15_000;

/**
 * Runs `work` while no other process does the same for this root: what one start clears away, another must not be building
 * up. A lock whose holder is gone counts for nothing.
 *
 * @throws KtraceError `KTRACE_E_LAB_BUSY` when another process holds the lock for 15 s
 */
export async function withRootLock<T>(root: string, work: () => T | Promise<T>): Promise<T> {
  mkdirSync(root, { recursive: true, mode: 0o755 });
  const file = join(root, '.lock');
  if ((await waitFor(() => tryLock(file), TIMEOUT_MS)) === undefined) {
    throw new KtraceError('KTRACE_E_LAB_BUSY', `Another process works on the labs in ${root} and does not come to an end`, {
      hint: `See which one with \`cat ${file}\`.`,
    });
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}

function tryLock(file: string): boolean {
  try {
    writeFileSync(file, JSON.stringify(identify(process.pid)), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (isStale(file)) rmSync(file, { force: true });
    return false;
  }
}

/** An empty file is one that its holder is about to write. */
function isStale(file: string): boolean {
  try {
    const text = readFileSync(file, 'utf8');
    return text !== '' && !isRunning(JSON.parse(text) as ProcessId);
  } catch {
    return false;
  }
}

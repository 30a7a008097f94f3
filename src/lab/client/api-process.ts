import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { KtraceError } from '../../util/errors.ts';
import { isRunning } from '../machine/proc.ts';
import { logTail, recordedProcess, startProcess } from '../machine/processes.ts';
import { siblingProgram } from '../machine/program.ts';
import { waitFor } from '../machine/wait.ts';

const NAME = 'api';
const READY_TIMEOUT_MS = 10_000;

/**
 * Starts a lab's API server and gives the port of 127.0.0.1 that it answers on.
 *
 * @param port 0 picks a free one; after a stop the same as before, so that kubeconfigs stay right
 */
export async function startApiServer(lab: string, directory: string, port: number): Promise<number> {
  const file = join(directory, 'api.json');
  rmSync(file, { force: true });
  startProcess(directory, NAME, [...siblingProgram(import.meta.url, '../api/main.ts'), lab, directory, String(port)]);
  const ready = await waitFor(() => {
    const record = recordedProcess(directory, NAME);
    return record === undefined || !isRunning(record) ? { port: 0 } : readPort(file);
  }, READY_TIMEOUT_MS);
  if (ready === undefined || ready.port === 0) {
    throw new KtraceError(
      'KTRACE_E_LAB_START',
      `The lab's API server does not start. Its last lines:\n${logTail(directory, NAME)}`,
    );
  }
  return ready.port;
}

function readPort(file: string): { port: number } | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { port: number };
  } catch {
    return undefined;
  }
}

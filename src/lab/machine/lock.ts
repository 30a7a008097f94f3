import { mkdirSync, realpathSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { KtraceError } from '../../util/errors.ts';
import { waitFor } from './wait.ts';

const TIMEOUT_MS = 15_000;

/**
 * Runs `work` while no other process does the same for this root: what one start clears away, another must not be building
 * up. The lock is an abstract unix socket: the kernel frees it however its holder ends.
 *
 * @throws KtraceError `KTRACE_E_LAB_BUSY` when another process holds the lock for 15 s
 */
export async function withRootLock<T>(root: string, work: () => T | Promise<T>): Promise<T> {
  mkdirSync(root, { recursive: true, mode: 0o755 });
  const name = `\0ktrace-lab ${realpathSync(root)}`.slice(0, 100);
  const lock = await waitFor(() => tryLock(name), TIMEOUT_MS);
  if (lock === undefined) {
    throw new KtraceError('KTRACE_E_LAB_BUSY', `Another process is at work on the labs in ${root} and does not come to an end`, {
      hint: 'See which one with `ss -xlp | grep ktrace-lab`.',
    });
  }
  try {
    return await work();
  } finally {
    await new Promise((resolve) => lock.close(resolve));
  }
}

function tryLock(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen(name, () => resolve(server));
  });
}

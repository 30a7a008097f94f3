import { lstat, mkdir, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { KtraceError, messageOf } from '../../util/errors.ts';

/**
 * Makes way for a listening unix socket: creates the directory, and removes a socket file whose process is gone.
 * @throws KtraceError KTRACE_E_SOCKET_IN_USE when somebody answers there, KTRACE_E_SOCKET when the path cannot be used
 */
export async function clearSocketPath(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const found = await lstat(path).catch(ifMissing);
    if (!found) return;
    if (!found.isSocket()) throw new Error('something that is no socket is in its place');
    if (!(await isAnswered(path))) return await unlink(path);
  } catch (cause) {
    throw new KtraceError('KTRACE_E_SOCKET', `The socket ${path} cannot be made: ${messageOf(cause)}`, {
      hint: 'Give another path with --socket (KTRACE_SOCKET), or remove what is there.',
      cause,
    });
  }
  throw new KtraceError('KTRACE_E_SOCKET_IN_USE', `Another agent serves ${path}`, {
    hint: 'One agent runs on a node; give a second one (in a lab) a path of its own with --socket.',
  });
}

function ifMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** A listening process answers even when it is stopped: the kernel completes the connection, or says EAGAIN when its queue is full. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
      else if (error.code === 'EAGAIN') resolve(true);
      else reject(error);
    });
  });
}

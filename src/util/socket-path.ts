import { isAbsolute } from 'node:path';
import { badArgument } from './errors.ts';

/** `sun_path` of Linux holds 108 bytes, the closing zero among them; libuv cuts a longer one silently. */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * The path itself, when a unix socket can have it.
 * @throws KtraceError KTRACE_E_ARGUMENT
 */
export function checkSocketPath(name: string, path: string): string {
  if (!isAbsolute(path) || path.includes('\0')) throw badArgument(name, 'an absolute path', path);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw badArgument(name, `a path of at most ${MAX_SOCKET_PATH_BYTES} bytes (a limit of unix sockets)`, path);
  }
  return path;
}

import { readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { badArgument, messageOf } from '../../util/errors.ts';

/** A filter is a few lines; what is larger is another file. */
const MAX_BYTES = 64 * 1024;
/** An editor empties a file and writes it anew: it is read when it has been left alone for so long. */
const QUIET_MS = 50;

/** The filter in a file, its lines as one. Throws KTRACE_E_ARGUMENT. */
export function readFilterFile(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw badArgument('-F', `a file that can be read (${messageOf(error)})`, path);
  }
  if (text.length > MAX_BYTES) throw badArgument('-F', `a file of at most ${MAX_BYTES} bytes`, path);
  return text.replace(/\s+/g, ' ').trim();
}

/** Tells the filter in a file whenever it is another one; `failed` when it cannot be read. */
export function watchFilterFile(
  path: string,
  first: string,
  changed: (text: string) => void,
  failed: (error: unknown) => void,
): { close(): void } {
  let known = first;
  let timer: NodeJS.Timeout | undefined;
  const read = (): void => {
    try {
      const text = readFilterFile(path);
      if (text === known) return;
      known = text;
      changed(text);
    } catch (error) {
      failed(error);
    }
  };
  // The folder is watched: an editor may put another file in the old one's place.
  const watcher = watch(dirname(path), (_, name) => {
    if (name !== null && name !== basename(path)) return;
    clearTimeout(timer);
    timer = setTimeout(read, QUIET_MS);
  });
  watcher.on('error', failed);
  return {
    close: () => {
      clearTimeout(timer);
      watcher.close();
    },
  };
}

import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { FileReader } from '../../store/capture/file-reader.ts';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { isDumpFile, isDumpHead } from '../file/dump-file.ts';

/** What there is to read. */
export interface ReadSource {
  /** Where a dump is, and how it is named in messages; undefined: it is none. */
  dump: { path: string; name: string } | undefined;
  /** A pipe that is no dump, from its beginning on; undefined: a file, or a dump. */
  pipe: FileReader | undefined;
  close(): Promise<void>;
}

const HEAD_BYTES = 8;
const PIECE_BYTES = 1024 * 1024;

/**
 * Finds out what a file or a pipe (`-`: `stdin`) is. A dump from a pipe is put into a file of its own, which is gone with {@link ReadSource.close}: what it
 * says last is needed first. Throws KTRACE_E_FILE.
 */
export async function openSource(path: string, stdin: Readable, interrupt?: AbortSignal): Promise<ReadSource> {
  if (path !== '-') {
    // What cannot be looked at is no pipe; who reads it will say why.
    const isPipe = await stat(path).then(
      (found) => !found.isFile() && !found.isDirectory(),
      () => false,
    );
    if (!isPipe)
      return { dump: (await isDumpFile(path)) ? { path, name: path } : undefined, pipe: undefined, close: async () => undefined };
  }
  const reader = new FileReader(path === '-' ? stdin : createReadStream(path, { highWaterMark: PIECE_BYTES }));
  try {
    if (!isDumpHead(await reader.peek(HEAD_BYTES))) return { dump: undefined, pipe: reader, close: () => reader.close() };
    return await spooled(path, reader, interrupt);
  } catch (error) {
    await reader.close();
    if (error instanceof KtraceError) throw error;
    throw new KtraceError('KTRACE_E_FILE', `${path} cannot be read: ${messageOf(error)}`, { cause: error, exitCode: EXIT.usage });
  }
}

async function spooled(name: string, reader: FileReader, interrupt: AbortSignal | undefined): Promise<ReadSource> {
  const folder = await mkdtemp(join(tmpdir(), 'ktrace-read-'));
  const close = () => rm(folder, { recursive: true, force: true });
  try {
    const path = join(folder, 'dump.ktrace');
    const file = await open(path, 'wx', 0o600);
    try {
      for (;;) {
        const piece = await reader.take(PIECE_BYTES);
        if (piece.length === 0 || interrupt?.aborted === true) break;
        await file.writeFile(piece);
      }
    } finally {
      await file.close();
    }
    await reader.close();
    return { dump: { path, name }, pipe: undefined, close };
  } catch (error) {
    await close();
    throw error;
  }
}

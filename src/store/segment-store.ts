import { type FileHandle, mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '../util/errors.ts';
import type { Turns } from '../util/turns.ts';
import type { BuiltBlock } from './block.ts';
import { FILE_HEADER_BYTES, fileHeader } from './block.ts';
import { syncFolder } from './sync-folder.ts';

export interface SegmentStoreOptions {
  directory: string;
  /** All segments together, and never more than one segment over it. */
  budgetBytes: number;
  /** Segments whose last record is older go. */
  ageMs: number;
  segmentBytes: number;
  /** Blocks that wait for the disk. */
  queueBytes: number;
  /** Of the files' format; default: the newest. */
  version?: number;
  /** The first blocks of each segment. */
  opening?(): BuiltBlock[];
  /** Records that could not be written. */
  onLost(count: number): void;
  /** A segment has been deleted to make room for others, not for its age. */
  onRotated?(segment: string): void;
  /** The disk fails or is too slow, with why; undefined: it takes blocks again. */
  onTrouble(why: string | undefined): void;
  /** Who shares the threads that files are written by. */
  turns?: Turns;
  /** How long a failing disk is left alone. */
  retryMs?: number;
  now?(): number;
  /** Milliseconds of a clock that is never stepped, in place of this machine's. */
  elapsedMs?(): number;
  /** Writes and syncs; replaced in tests by a slow disk. */
  write?(file: FileHandle, blocks: Buffer[]): Promise<number>;
}

/** A segment as a reader finds it: what lies behind `bytes` is being written. */
export interface Segment {
  path: string;
  name: string;
  bytes: number;
  /** Unix milliseconds when it was begun. */
  beginMs: number;
  /** What its blocks tell is between these, as far as it is known; Unix milliseconds. */
  fromMs: number;
  toMs: number;
}

interface Known {
  name: string;
  bytes: number;
  /** When it was last written. */
  endMs: number;
  fromMs: number;
  toMs: number;
}

const NAME = /^(\d{14})-(\d{4})\.kseg$/;
const RETRY_MS = 1000;
/** A disk that has not answered for so long is too slow. */
const SLOW_MS = 3000;
/** What an earlier run wrote tells nothing later than when it was written, but for a clock that was set meanwhile. */
const CLOCK_SET_MS = 60_000;
/** A file beside the segments with the time up to which there were some that are deleted, Unix milliseconds. */
const DELETED_FILE = 'deleted';

/**
 * Append-only segments in a folder, oldest out first. Appending never waits: blocks stand in a bounded queue, one write is under way at a time,
 * and what finds no room in the queue is counted as lost.
 */
export class SegmentStore {
  readonly counts = { writtenBytes: 0, writtenRecords: 0, lostRecords: 0, removedSegments: 0 };
  readonly #options: SegmentStoreOptions;
  #segments: Known[] = [];
  #queue: BuiltBlock[] = [];
  #queuedBytes = 0;
  #file: FileHandle | undefined;
  #current: Known | undefined;
  #working: Promise<void> | undefined;
  /** When what is under way was begun. */
  #stepAtMs = 0;
  #isSlow = false;
  #failedAtMs: number | undefined;
  #deletedToMs = 0;
  #isClosed = false;
  #serial = 0;

  /** Reads what is there already; throws nothing: a folder that cannot be read is trouble like any other. */
  static async open(options: SegmentStoreOptions): Promise<SegmentStore> {
    const store = new SegmentStore(options);
    await store.#turn(() => store.#list());
    return store;
  }

  private constructor(options: SegmentStoreOptions) {
    this.#options = options;
  }

  /** Segments, oldest first. One that is being begun has nothing to be read yet. */
  segments(): Segment[] {
    const all = this.#current === undefined ? this.#segments : [...this.#segments, this.#current];
    return all.filter(hasBlocks).map(({ name, bytes, fromMs, toMs }) => ({
      path: join(this.#options.directory, name),
      name,
      bytes,
      beginMs: Number(NAME.exec(name)?.[1] ?? 0),
      fromMs,
      toMs,
    }));
  }

  get totalBytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, this.#current?.bytes ?? 0);
  }

  /** When something was last written, as far as the files say. */
  get lastWrittenMs(): number | undefined {
    return this.#current?.endMs ?? this.#segments.findLast(hasBlocks)?.endMs;
  }

  /** Until when the last segment was written that is deleted, for room or for its age; undefined: none is. Also of earlier runs. */
  get deletedToMs(): number | undefined {
    return this.#deletedToMs === 0 ? undefined : this.#deletedToMs;
  }

  get isFailing(): boolean {
    return this.#failedAtMs !== undefined;
  }

  /** It waits for the disk. */
  get isBusy(): boolean {
    return this.#working !== undefined;
  }

  /** Takes a block; it is on disk when the next write has been synced. False: it found no room and is lost. */
  append(block: BuiltBlock): boolean {
    if (this.#isClosed || this.#queuedBytes + block.bytes.length > this.#options.queueBytes) {
      this.#lose(block);
      if (!this.#isClosed) this.#slow('slow: it takes less than is to be written');
      return false;
    }
    this.#queue.push(block);
    this.#queuedBytes += block.bytes.length;
    this.#work();
    return true;
  }

  /** Old segments go also where nothing is written; a disk that failed is tried again, and one that does not answer is told. */
  tick(): void {
    if (this.#isClosed) return;
    this.#work();
    const stepMs = this.#working === undefined ? 0 : this.#elapsedMs() - this.#stepAtMs;
    if (stepMs > SLOW_MS) this.#slow(`slow: it has not answered for ${Math.floor(stepMs / 1000)} s`);
  }

  /** What was taken so far is on disk, or the disk fails. */
  async settled(): Promise<void> {
    // What was taken while a write ended is in the one after it.
    for (let turn = 0; turn < 2 && this.#working !== undefined; turn += 1) await this.#working;
  }

  /** Writes what waits, unless the disk fails, and closes. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#work();
    await this.#working;
    this.#isClosed = true;
    for (const block of this.#queue) this.#lose(block);
    this.#queue = [];
    await this.#turn(() => this.#shut());
  }

  #work(): void {
    if (this.#working !== undefined) return;
    this.#stepAtMs = this.#elapsedMs();
    this.#working = this.#drain()
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#working = undefined;
        // What came while the last write ended.
        if (this.#queue.length > 0 && this.#failedAtMs === undefined && !this.#isClosed) this.#work();
      });
  }

  async #drain(): Promise<void> {
    if (this.#failedAtMs !== undefined && this.#nowMs() - this.#failedAtMs < (this.#options.retryMs ?? RETRY_MS)) return;
    while (this.#queue.length > 0) {
      await this.#turn(() => this.#writeQueue());
      this.#stepAtMs = this.#elapsedMs();
    }
    await this.#turn(() => this.#prune());
    this.#succeeded();
  }

  async #failed(error: unknown): Promise<void> {
    if (this.#failedAtMs === undefined) this.#options.onTrouble(messageOf(error));
    this.#failedAtMs = this.#nowMs();
    // It fails: that is why.
    this.#isSlow = false;
    await this.#turn(() => this.#shut());
  }

  #succeeded(): void {
    // While the queue is filled faster than it is emptied it is slow still.
    if (this.#isSlow && this.#queuedBytes > this.#options.queueBytes / 2) return;
    if (this.#failedAtMs === undefined && !this.#isSlow) return;
    this.#failedAtMs = undefined;
    this.#isSlow = false;
    this.#options.onTrouble(undefined);
  }

  /** Told once, and not of a disk that fails: that is why. */
  #slow(why: string): void {
    if (this.#isSlow || this.#failedAtMs !== undefined) return;
    this.#isSlow = true;
    this.#options.onTrouble(why);
  }

  #turn<T>(what: () => Promise<T>): Promise<T> {
    return this.#options.turns === undefined ? what() : this.#options.turns.take(what);
  }

  #elapsedMs(): number {
    return this.#options.elapsedMs?.() ?? performance.now();
  }

  async #writeQueue(): Promise<void> {
    const { write = writeAndSync, segmentBytes } = this.#options;
    const file = await this.#openFile();
    const current = this.#current as Known;
    // One large write: a block more than fits goes into the next segment.
    const taken: BuiltBlock[] = [];
    for (let bytes = current.bytes; ; ) {
      const next = this.#queue[taken.length];
      if (next === undefined || (taken.length > 0 && bytes + next.bytes.length > segmentBytes)) break;
      bytes += next.bytes.length;
      taken.push(next);
    }
    const wanted = taken.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const written = await write(
      file,
      taken.map(({ bytes }) => bytes),
    );
    if (written < wanted) throw new Error(`ENOSPC: ${written} of ${wanted} bytes were written`);
    this.#queue.splice(0, taken.length);
    this.#queuedBytes -= wanted;
    current.bytes += wanted;
    current.endMs = this.#nowMs();
    this.counts.writtenBytes += wanted;
    for (const { count, fromMs = Infinity, toMs = -Infinity, ended } of taken) {
      current.fromMs = Math.min(current.fromMs, fromMs);
      current.toMs = Math.max(current.toMs, toMs);
      this.counts.writtenRecords += count;
      ended?.(current.name);
    }
    this.#succeeded();
    if (current.bytes >= segmentBytes) await this.#shut();
  }

  /** The segment that is written to; a new one where there is none, or where somebody has removed it. */
  async #openFile(): Promise<FileHandle> {
    if (this.#file !== undefined) {
      const { nlink } = await this.#file.stat();
      if (nlink > 0) return this.#file;
      this.#current = undefined;
      await this.#shut();
      await this.#list();
    }
    const { directory, opening, version } = this.#options;
    await makeFolder(directory);
    await this.#prune();
    this.#serial = (this.#serial + 1) % 10_000;
    const name = `${String(this.#nowMs()).padStart(14, '0')}-${String(this.#serial).padStart(4, '0')}.kseg`;
    const file = await open(join(directory, name), 'ax', 0o600);
    this.#file = file;
    this.#current = { name, bytes: 0, endMs: this.#nowMs(), fromMs: Infinity, toMs: -Infinity };
    const blocks = [fileHeader(version), ...(opening?.() ?? []).map((block) => block.bytes)];
    const bytes = blocks.reduce((sum, { length }) => sum + length, 0);
    if ((await writeAndSync(file, blocks)) < bytes) throw new Error('ENOSPC: a new segment could not be begun');
    this.#current.bytes = bytes;
    await syncFolder(directory);
    return file;
  }

  /** Ends the current segment: it becomes one of those that are only read. Never rejects: nobody could do more about it. */
  async #shut(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    const current = this.#current;
    this.#current = undefined;
    if (current !== undefined) this.#segments.push(current);
    if (file === undefined || current === undefined) {
      await file?.close().catch(() => undefined);
      return;
    }
    // What a failing disk took of the last write is no whole block: it goes, where that can be.
    await file.truncate(current.bytes).catch(() => undefined);
    await file.close().catch(() => undefined);
    await this.#removeEmpty().catch(() => undefined);
  }

  async #prune(): Promise<void> {
    await this.#removeEmpty();
    const { budgetBytes, segmentBytes, ageMs } = this.#options;
    const oldest = this.#nowMs() - ageMs;
    for (let first = this.#segments[0]; first !== undefined; first = this.#segments[0]) {
      const isOld = first.endMs < oldest;
      if (!isOld && this.totalBytes + (this.#current === undefined ? segmentBytes : 0) <= budgetBytes) break;
      await this.#remove(first);
      this.counts.removedSegments += 1;
      this.#deletedToMs = Math.max(this.#deletedToMs, Math.ceil(first.endMs));
      if (!isOld) this.#options.onRotated?.(first.name);
      // A disk that does not take it will say so where it takes no block; it is written with the next one.
      await writeFile(this.#deletedPath, `${this.#deletedToMs}\n`, { mode: 0o600 }).catch(() => undefined);
    }
  }

  /** Segments that were begun and got no block. One that a failing disk does not let go is tried again before another is begun. */
  async #removeEmpty(): Promise<void> {
    for (const segment of this.#segments.filter((one) => !hasBlocks(one))) await this.#remove(segment);
  }

  async #remove(segment: Known): Promise<void> {
    await rm(join(this.#options.directory, segment.name), { force: true });
    this.#segments = this.#segments.filter((one) => one !== segment);
  }

  get #deletedPath(): string {
    return join(this.#options.directory, DELETED_FILE);
  }

  async #list(): Promise<void> {
    this.#segments = [];
    const { directory } = this.#options;
    // Not there yet, or not to be read: writing will say which.
    const names = await readdir(directory).catch(() => []);
    for (const name of names.filter((entry) => NAME.test(entry)).sort()) {
      const found = await stat(join(directory, name)).catch(() => undefined);
      if (found === undefined) continue;
      // How far back it tells of losses only its blocks know.
      const times = { endMs: found.mtimeMs, fromMs: -Infinity, toMs: found.mtimeMs + CLOCK_SET_MS };
      this.#segments.push({ name, bytes: found.size, ...times });
    }
    const deleted = await readFile(this.#deletedPath, 'utf8').catch(() => '');
    this.#deletedToMs = Math.max(this.#deletedToMs, Number(deleted) || 0);
    // Power went, or the agent was killed, before their first block was there.
    await this.#removeEmpty().catch(() => undefined);
  }

  #lose({ count, ended }: BuiltBlock): void {
    this.counts.lostRecords += count;
    if (count > 0) this.#options.onLost(count);
    ended?.(undefined);
  }

  #nowMs(): number {
    return this.#options.now?.() ?? Date.now();
  }
}

function hasBlocks({ bytes }: Known): boolean {
  return bytes > FILE_HEADER_BYTES;
}

async function writeAndSync(file: FileHandle, blocks: Buffer[]): Promise<number> {
  const { bytesWritten } = await file.writev(blocks);
  await file.datasync();
  return bytesWritten;
}

/** Not recursive at first: on a read-only disk that would tell ENOENT (libuv), which is not why. */
async function makeFolder(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw error;
    await makeFolder(dirname(directory));
    await mkdir(directory, { mode: 0o700 });
  }
}

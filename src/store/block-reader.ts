import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { EXIT, KtraceError } from '../util/errors.ts';
import type { Turns } from '../util/turns.ts';
import {
  BLOCK_HEADER_BYTES,
  BLOCK_MAGIC,
  type BlockHeader,
  decodeHeader,
  decodePayload,
  dictionaryIdOf,
  FILE_HEADER_BYTES,
  FORMAT_VERSION,
  fileVersion,
  MAX_HEADER_BYTES,
} from './block.ts';

export interface ReadBlock {
  header: BlockHeader;
  /** Where it begins, and where the next one does. */
  at: number;
  endsAt: number;
  raw: Buffer;
}

export interface ReadBlocksOptions {
  /** Named in what is told. */
  name: string;
  /** Begins here instead of behind the file's header. */
  fromByte?: number | undefined;
  /** Reads no further: what lies behind is being written. */
  untilByte: number;
  /** Is it worth reading? */
  wants(header: BlockHeader): boolean;
  /** Bytes that are no intact block. */
  onDamage(damage: { name: string; at: number; bytes: number }): void;
  /** Called with the bytes that were read; a reader that must not be too fast waits in it. */
  onRead?(bytes: number): Promise<void> | void;
  /** Who shares the threads that files are read by. */
  turns?: Turns | undefined;
}

const WINDOW_BYTES = 64 * 1024;

/**
 * The wanted blocks of a file, in order. What is damaged is told with its place, and every intact block behind it is read.
 * @throws KtraceError KTRACE_E_DUMP_FORMAT when it is no such file, KTRACE_E_DUMP_NEWER when a newer ktrace wrote it
 */
export async function* readBlocks(file: FileHandle, options: ReadBlocksOptions): AsyncGenerator<ReadBlock> {
  const { name, untilByte, wants, onDamage } = options;
  const window = new Window(file, untilByte, options);
  checkFile(name, await window.bytes(0, FILE_HEADER_BYTES));
  const dictionaries: FoundDictionaries = new Map();
  for await (const { header, at, endsAt, payloadAt } of headersIn(window, options.fromByte ?? FILE_HEADER_BYTES, untilByte)) {
    if (header === undefined) {
      onDamage({ name, at, bytes: endsAt - at });
      continue;
    }
    if (header.type !== 'dictionary' && !wants(header)) continue;
    const kept = { ...header, bloom: Buffer.from(header.bloom) };
    const id = dictionaryIdOf(kept, await window.bytes(payloadAt, header.payloadBytes));
    // Reading began behind it.
    if (id !== undefined && !dictionaries.has(id)) await readDictionaries(window, at, dictionaries, id);
    const dictionary = id === undefined ? undefined : dictionaries.get(id);
    const raw = decodePayload(kept, await window.bytes(payloadAt, header.payloadBytes), dictionary);
    if (raw === undefined) onDamage({ name, at, bytes: endsAt - at });
    else if (kept.type === 'dictionary') keep(dictionaries, crc32(raw), Buffer.from(raw));
    else yield { header: kept, at, endsAt, raw };
  }
}

interface Place {
  /** Undefined: these bytes are no intact block. */
  header: BlockHeader | undefined;
  at: number;
  endsAt: number;
  payloadAt: number;
}

async function* headersIn(window: Window, fromByte: number, untilByte: number): AsyncGenerator<Place> {
  for (let at = fromByte; at < untilByte; ) {
    const header = decodeHeader(await window.bytes(at, MAX_HEADER_BYTES));
    const payloadAt = header === undefined ? 0 : at + BLOCK_HEADER_BYTES + header.bloom.length;
    const endsAt = header === undefined ? 0 : payloadAt + header.payloadBytes;
    if (header !== undefined && endsAt <= untilByte) {
      yield { header, at, endsAt, payloadAt };
      at = endsAt;
    } else {
      const next = await nextBlock(window, at + 1, untilByte);
      yield { header: undefined, at, endsAt: next, payloadAt };
      at = next;
    }
  }
}

/** By their CRC-32; undefined: it is not there. */
type FoundDictionaries = Map<number, Buffer | undefined>;

/** A segment has few, and what a file from elsewhere has is bounded. */
const MOST_DICTIONARIES = 16;

function keep(found: FoundDictionaries, id: number, text: Buffer | undefined): void {
  found.delete(id);
  found.set(id, text);
  const [oldest] = found.keys();
  if (found.size > MOST_DICTIONARIES && oldest !== undefined) found.delete(oldest);
}

/** Those of a file up to a place; the wanted one is known then, as missing where it is not among them. */
async function readDictionaries(window: Window, untilByte: number, found: FoundDictionaries, wanted: number): Promise<void> {
  for await (const { header, payloadAt } of headersIn(window, FILE_HEADER_BYTES, untilByte)) {
    if (header?.type !== 'dictionary') continue;
    const raw = decodePayload(header, await window.bytes(payloadAt, header.payloadBytes));
    if (raw !== undefined) keep(found, crc32(raw), Buffer.from(raw));
  }
  if (!found.has(wanted)) keep(found, wanted, undefined);
}

/** Throws where these are not the first bytes of a file that this version reads. */
function checkFile(name: string, head: Buffer): void {
  const version = fileVersion(head);
  if (version === undefined) {
    throw new KtraceError('KTRACE_E_DUMP_FORMAT', `Expected a dump of ktrace for ${name}, got another file`, {
      hint: 'ktrace dump -w writes such files; ktrace read takes pcap and pcapng as well.',
      exitCode: EXIT.usage,
    });
  }
  if (version > FORMAT_VERSION) {
    throw new KtraceError(
      'KTRACE_E_DUMP_NEWER',
      `${name} has version ${version} of the format, this ktrace reads up to ${FORMAT_VERSION}`,
      {
        hint: 'Read it with the ktrace that wrote it, or a newer one.',
      },
    );
  }
}

/** Where the next header that is whole begins; the end when there is none. */
async function nextBlock(window: Window, from: number, untilByte: number): Promise<number> {
  for (let at = from; at < untilByte; ) {
    const bytes = await window.bytes(at, WINDOW_BYTES);
    const found = bytes.indexOf(BLOCK_MAGIC);
    if (found < 0) {
      if (bytes.length <= BLOCK_MAGIC.length) return untilByte;
      at += bytes.length - BLOCK_MAGIC.length + 1;
      continue;
    }
    if (decodeHeader(await window.bytes(at + found, MAX_HEADER_BYTES)) !== undefined) return at + found;
    at += found + 1;
  }
  return untilByte;
}

/** A piece of the file: headers of small blocks come many in one read. */
class Window {
  readonly #file: FileHandle;
  readonly #until: number;
  readonly #options: Pick<ReadBlocksOptions, 'onRead' | 'turns'>;
  #buffer = Buffer.alloc(WINDOW_BYTES);
  #start = 0;
  #length = 0;

  constructor(file: FileHandle, until: number, options: Pick<ReadBlocksOptions, 'onRead' | 'turns'>) {
    this.#file = file;
    this.#until = until;
    this.#options = options;
  }

  /** Up to so many bytes from there on; fewer at the end. They hold until the next call. */
  async bytes(at: number, length: number): Promise<Buffer> {
    const wanted = Math.max(0, Math.min(length, this.#until - at));
    if (at < this.#start || at + wanted > this.#start + this.#length) await this.#fill(at, wanted);
    const begin = at - this.#start;
    return this.#buffer.subarray(begin, Math.min(begin + wanted, this.#length));
  }

  async #fill(at: number, wanted: number): Promise<void> {
    if (wanted > this.#buffer.length) this.#buffer = Buffer.alloc(wanted);
    const want = Math.min(Math.max(wanted, WINDOW_BYTES), this.#until - at);
    const { turns, onRead } = this.#options;
    const read = async (): Promise<number> => {
      let length = 0;
      while (length < want) {
        const { bytesRead } = await this.#file.read(this.#buffer, length, want - length, at + length);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
      return length;
    };
    this.#length = await (turns === undefined ? read() : turns.take(read));
    this.#start = at;
    await onRead?.(this.#length);
  }
}

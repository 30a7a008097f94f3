import { constants, crc32, inflateRawSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { bloomOf, MAX_BLOOM_BYTES } from './bloom.ts';

/**
 * Files of recordings and dumps: a file header, then blocks. Each block stands for itself: compressed and checksummed alone, with the time it
 * spans and a Bloom filter of whom it is about. `docs/dump.md` has the layout. All numbers are little endian.
 */
const FILE_MAGIC = Buffer.from('KTRACE\x1a\n', 'latin1');
export const FILE_HEADER_BYTES = 16;
/**
 * Readers take this one and all before it. Version 2 has dictionaries, and a packet's second header as what differs from its first; version 3 leaves out
 * TCP's numbers where the header has them.
 */
export const FORMAT_VERSION = 3;
/** A file without any of these: readers of before take it, too. */
export const PLAIN_VERSION = 1;
export const BLOCK_MAGIC = Buffer.from('KBLK', 'latin1');
export const BLOCK_HEADER_BYTES = 44;
/** Larger ones are damage. */
const MAX_BLOCK_BYTES = 4 * 1024 * 1024;
/** Small blocks come once a second at most and have the time; large ones come as fast as there is something to tell. */
const LEVELS = { small: 9, large: 3 } as const;
const SMALL_BYTES = 128 * 1024;
const DICTIONARY_ID_BYTES = 4;

/** `records`: events as JSON, one a line. `names`: who owned addresses. `manifest`: what a dump holds. `dictionary`: what others are packed with. */
export type BlockType = 'records' | 'names' | 'manifest' | 'dictionary';
const TYPES: readonly BlockType[] = ['records', 'names', 'manifest', 'dictionary'];
const CODECS = { none: 0, deflate: 1, zstd: 2, zstdWithDictionary: 3 } as const;

/** Text that blocks are packed with; its CRC-32 names it. */
export interface Dictionary {
  id: number;
  text: Buffer;
}

export interface BlockHeader {
  type: BlockType;
  codec: number;
  count: number;
  /** Unix milliseconds, the earliest and the latest that is told. */
  fromMs: number;
  toMs: number;
  payloadBytes: number;
  rawBytes: number;
  payloadCrc: number;
  bloom: Buffer;
}

export function fileHeader(version = FORMAT_VERSION): Buffer {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  FILE_MAGIC.copy(header);
  header.writeUInt16LE(version, 8);
  return header;
}

/** The format's version of a file that begins so; undefined when it is no file of ktrace's. */
export function fileVersion(header: Buffer): number | undefined {
  if (header.length < FILE_HEADER_BYTES || !header.subarray(0, FILE_MAGIC.length).equals(FILE_MAGIC)) return undefined;
  return header.readUInt16LE(8);
}

export interface BlockContent {
  type: BlockType;
  raw: Buffer;
  count: number;
  fromMs: number;
  toMs: number;
  /** Addresses, pods' uids and names that it is about. */
  keys: ReadonlySet<string>;
}

/** A block as it stands in a file, which must hold the dictionary, too. */
export function encodeBlock({ type, raw, count, fromMs, toMs, keys }: BlockContent, dictionary?: Dictionary): Buffer {
  const payload = packed(raw, dictionary);
  const bloom = bloomOf(keys);
  const block = Buffer.alloc(BLOCK_HEADER_BYTES + bloom.length + payload.length);
  BLOCK_MAGIC.copy(block);
  block.writeUInt32LE(crc32(payload), 8);
  block.writeUInt32LE(payload.length, 12);
  block.writeUInt32LE(raw.length, 16);
  block.writeUInt32LE(count, 20);
  block.writeDoubleLE(fromMs, 24);
  block.writeDoubleLE(toMs, 32);
  block.writeUInt8(TYPES.indexOf(type), 40);
  block.writeUInt8(dictionary === undefined ? CODECS.zstd : CODECS.zstdWithDictionary, 41);
  block.writeUInt16LE(bloom.length, 42);
  bloom.copy(block, BLOCK_HEADER_BYTES);
  payload.copy(block, BLOCK_HEADER_BYTES + bloom.length);
  block.writeUInt32LE(crc32(block.subarray(8, BLOCK_HEADER_BYTES + bloom.length)), 4);
  return block;
}

function packed(raw: Buffer, dictionary: Dictionary | undefined): Buffer {
  const level = raw.length <= SMALL_BYTES ? LEVELS.small : LEVELS.large;
  const params = { [constants.ZSTD_c_compressionLevel]: level };
  if (dictionary === undefined) return zstdCompressSync(raw, { params });
  const id = Buffer.alloc(DICTIONARY_ID_BYTES);
  id.writeUInt32LE(dictionary.id);
  return Buffer.concat([id, zstdCompressSync(raw, { params, dictionary: dictionary.text })]);
}

/** The header at the beginning of these bytes; undefined when it is none, or damaged, or cut short. */
export function decodeHeader(bytes: Buffer): BlockHeader | undefined {
  if (bytes.length < BLOCK_HEADER_BYTES || !bytes.subarray(0, 4).equals(BLOCK_MAGIC)) return undefined;
  const bloomBytes = bytes.readUInt16LE(42);
  const payloadBytes = bytes.readUInt32LE(12);
  const rawBytes = bytes.readUInt32LE(16);
  const type = TYPES[bytes.readUInt8(40)];
  const end = BLOCK_HEADER_BYTES + bloomBytes;
  if (bloomBytes > MAX_BLOOM_BYTES || bytes.length < end || payloadBytes > MAX_BLOCK_BYTES || rawBytes > MAX_BLOCK_BYTES) {
    return undefined;
  }
  if (type === undefined || crc32(bytes.subarray(8, end)) !== bytes.readUInt32LE(4)) return undefined;
  return {
    type,
    codec: bytes.readUInt8(41),
    count: bytes.readUInt32LE(20),
    fromMs: bytes.readDoubleLE(24),
    toMs: bytes.readDoubleLE(32),
    payloadBytes,
    rawBytes,
    payloadCrc: bytes.readUInt32LE(8),
    bloom: bytes.subarray(BLOCK_HEADER_BYTES, end),
  };
}

/** The most bytes that a header with its Bloom filter has. */
export const MAX_HEADER_BYTES = BLOCK_HEADER_BYTES + MAX_BLOOM_BYTES;

/** Which dictionary a payload is packed with; undefined: none. */
export function dictionaryIdOf({ codec }: BlockHeader, payload: Buffer): number | undefined {
  return codec === CODECS.zstdWithDictionary && payload.length > DICTIONARY_ID_BYTES ? payload.readUInt32LE(0) : undefined;
}

/** What was written; undefined when it is damaged, or the dictionary is not the one that it was packed with. */
export function decodePayload(header: BlockHeader, payload: Buffer, dictionary?: Buffer): Buffer | undefined {
  if (payload.length !== header.payloadBytes || crc32(payload) !== header.payloadCrc) return undefined;
  try {
    if (header.codec === CODECS.zstdWithDictionary) {
      if (dictionary === undefined) return undefined;
      return zstdDecompressSync(payload.subarray(DICTIONARY_ID_BYTES), { maxOutputLength: MAX_BLOCK_BYTES, dictionary });
    }
    if (header.codec === CODECS.none) return payload;
    const most = { maxOutputLength: MAX_BLOCK_BYTES };
    return header.codec === CODECS.zstd ? zstdDecompressSync(payload, most) : inflateRawSync(payload, most);
  } catch {
    return undefined;
  }
}

/** A block that is ready, with what it holds. */
export interface BuiltBlock {
  bytes: Buffer;
  /** Records that are lost where it is not written. */
  count: number;
  /** Unix milliseconds of what it tells; undefined where it is found by no time. */
  fromMs?: number;
  toMs?: number;
  /** Called once: it is on disk, in this segment; undefined: it will never be. */
  ended?(segment: string | undefined): void;
}

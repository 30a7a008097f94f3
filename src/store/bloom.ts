import { crc32 } from 'node:zlib';

const HASHES = 3;
const BITS_PER_KEY = 10;
export const MAX_BLOOM_BYTES = 512;
const MIN_BLOOM_BYTES = 16;

/** A Bloom filter of these keys, a power of two of bytes: a key that is in it is always found, one that is not in about 2 % of the cases. */
export function bloomOf(keys: ReadonlySet<string>): Buffer {
  let bytes = MIN_BLOOM_BYTES;
  while (bytes < MAX_BLOOM_BYTES && bytes * 8 < keys.size * BITS_PER_KEY) bytes *= 2;
  const bloom = Buffer.alloc(bytes);
  for (const key of keys) {
    for (const bit of bitsOf(key, bytes * 8)) bloom[bit >> 3] = (bloom[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  return bloom;
}

/** May this key be in it? */
export function mayHold(bloom: Uint8Array, key: string): boolean {
  return bitsOf(key, bloom.length * 8).every((bit) => ((bloom[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0);
}

/** Places out of two hashes (Kirsch and Mitzenmacher, 2008). */
function bitsOf(key: string, size: number): number[] {
  const first = crc32(key);
  const second = crc32(key, 0x9e3779b9) | 1;
  return Array.from({ length: HASHES }, (_, at) => ((first + Math.imul(at, second)) >>> 0) % size);
}

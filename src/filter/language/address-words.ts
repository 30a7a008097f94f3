import ipaddr from 'ipaddr.js';

/** An IPv4 address as one number of 32 bits, unsigned. */
export function ipv4Word(text: string): number {
  return wordsOf(ipaddr.IPv4.parse(text).toByteArray())[0] as number;
}

/** An IPv6 address as four numbers of 32 bits, unsigned, in network order. */
export function ipv6Words(text: string): number[] {
  return wordsOf(ipaddr.IPv6.parse(text).toByteArray());
}

/** The first `bits` of 32 set. */
export function maskWord(bits: number): number {
  return bits <= 0 ? 0 : (0xffff_ffff << (32 - Math.min(bits, 32))) >>> 0;
}

/** The first `bits` of 128 set, as four words. */
export function maskWords(bits: number): number[] {
  return [0, 32, 64, 96].map((from) => maskWord(bits - from));
}

/** A word as a dotted IPv4 address. */
export function ipv4Text(word: number): string {
  return [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join('.');
}

function wordsOf(bytes: number[]): number[] {
  const words: number[] = [];
  for (let index = 0; index < bytes.length; index += 4) {
    words.push(bytes.slice(index, index + 4).reduce((word, byte) => word * 256 + byte, 0));
  }
  return words;
}

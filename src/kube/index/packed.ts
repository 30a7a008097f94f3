import ipaddr from 'ipaddr.js';

/** Addresses and uids as four words of 32 bits each: a text of one takes three times as much, and a look-up by text as much again. */
export type Words = Uint32Array;

/** Characters of a UUID, and where its hyphens are. */
const UID_LENGTH = 36;
const HYPHENS = [8, 13, 18, 23];
const HYPHEN = 45;
/** Of each byte, in two characters. */
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const DOT = 46;
const COLON = 58;
const ZERO = 48;
/** `a`: addresses are written in lower case. */
const LETTERS = 97;
/** Of the address that is packed. */
const GROUPS = new Uint16Array(8);
/** What an IPv4 address has before its own word, as in ::ffff:a.b.c.d. */
const IPV4_MARK = 0xffff;

/** @param ip as {@link canonicalIp} gives it */
export function packAddress(ip: string, into: Words, at = 0): void {
  into[at] = 0;
  into[at + 1] = 0;
  into[at + 2] = IPV4_MARK;
  if (!packIpv4(ip, into, at)) packIpv6(ip, into, at);
}

function packIpv4(ip: string, into: Words, at: number): boolean {
  let word = 0;
  let byte = 0;
  for (let place = 0; place < ip.length; place += 1) {
    const code = ip.charCodeAt(place);
    if (code === COLON) return false;
    if (code !== DOT) {
      byte = byte * 10 + code - ZERO;
      continue;
    }
    word = (word << 8) | byte;
    byte = 0;
  }
  into[at + 3] = (word << 8) | byte;
  return true;
}

/** In groups of 16 bits, of which `::` leaves out some that are 0. */
function packIpv6(ip: string, into: Words, at: number): void {
  let count = 0;
  let gap = 8;
  let group = 0;
  let digits = 0;
  GROUPS.fill(0);
  for (let place = 0; place <= ip.length; place += 1) {
    const code = place < ip.length ? ip.charCodeAt(place) : COLON;
    if (code !== COLON) {
      group = (group << 4) | (code < LETTERS ? code - ZERO : code - LETTERS + 10);
      digits += 1;
    } else if (digits > 0) {
      GROUPS[count] = group;
      count += 1;
      group = 0;
      digits = 0;
      if (ip.charCodeAt(place + 1) === COLON) gap = count;
    } else if (place === 0) gap = 0;
  }
  GROUPS.copyWithin(8 - (count - gap), gap, count);
  if (count < 8) GROUPS.fill(0, gap, 8 - (count - gap));
  for (let word = 0; word < 4; word += 1)
    into[at + word] = ((GROUPS[2 * word] as number) << 16) | (GROUPS[2 * word + 1] as number);
}

/** What {@link packAddress} took. */
export function addressOf(from: Words, at = 0): string {
  if (from[at] === 0 && from[at + 1] === 0 && from[at + 2] === IPV4_MARK) {
    const last = from[at + 3] ?? 0;
    return `${last >>> 24}.${(last >>> 16) & 255}.${(last >>> 8) & 255}.${last & 255}`;
  }
  const words = [at, at + 1, at + 2, at + 3].map((place) => from[place] ?? 0);
  const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
  return new ipaddr.IPv6(bytes).toRFC5952String();
}

/** False for a text that is no UUID as the API server writes them: that has no words, and what is in `into` then means nothing. */
export function packUid(uid: string, into: Words, at = 0): boolean {
  if (uid.length !== UID_LENGTH) return false;
  let digits = 0;
  let word = 0;
  for (let place = 0; place < UID_LENGTH; place += 1) {
    const code = uid.charCodeAt(place);
    if (HYPHENS.includes(place)) {
      if (code !== HYPHEN) return false;
      continue;
    }
    const isDigit = code >= ZERO && code < ZERO + 10;
    if (!isDigit && (code < LETTERS || code >= LETTERS + 6)) return false;
    word = (word << 4) | (isDigit ? code - ZERO : code - LETTERS + 10);
    digits += 1;
    if (digits % 8 === 0) into[at + digits / 8 - 1] = word;
  }
  return true;
}

/** What {@link packUid} took. */
export function uidOf(from: Words, at = 0): string {
  const [first, second, third, last] = [from[at], from[at + 1], from[at + 2], from[at + 3]];
  return `${high(first)}${low(first)}-${high(second)}-${low(second)}-${high(third)}-${low(third)}${high(last)}${low(last)}`;
}

/** The first two bytes of a word. */
function high(word = 0): string {
  return `${HEX[word >>> 24]}${HEX[(word >>> 16) & 255]}`;
}

/** The last two. */
function low(word = 0): string {
  return `${HEX[(word >>> 8) & 255]}${HEX[word & 255]}`;
}

export function sameWords(a: Words, aAt: number, b: Words, bAt: number): boolean {
  return a[aAt] === b[bAt] && a[aAt + 1] === b[bAt + 1] && a[aAt + 2] === b[bAt + 2] && a[aAt + 3] === b[bAt + 3];
}

/** A number of 32 bits that is as good as any, and nobody can make many alike who does not know the seed. */
export function hashOf(words: Words, at: number, seed: number): number {
  let hash = seed;
  for (let word = at; word < at + 4; word += 1) {
    hash = Math.imul(hash ^ (words[word] ?? 0), 0x85eb_ca6b);
    hash ^= hash >>> 15;
    hash = Math.imul(hash, 0xc2b2_ae35) ^ seed;
    hash ^= hash >>> 13;
  }
  return hash >>> 0;
}

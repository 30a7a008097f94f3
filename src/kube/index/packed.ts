import ipaddr from 'ipaddr.js';

/** Addresses and uids as four words of 32 bits each: a text of one takes three times as much, and a look-up by text as much again. */
export type Words = Uint32Array;

const UID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
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
  const words = [at, at + 1, at + 2, at + 3].map((place) => from[place] ?? 0);
  const [first, second, third, last = 0] = words;
  if (first === 0 && second === 0 && third === IPV4_MARK) {
    return `${last >>> 24}.${(last >>> 16) & 255}.${(last >>> 8) & 255}.${last & 255}`;
  }
  const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
  return new ipaddr.IPv6(bytes).toRFC5952String();
}

/** False for a text that is no UUID as the API server writes them: that has no words. */
export function packUid(uid: string, into: Words, at = 0): boolean {
  if (!UID.test(uid)) return false;
  into[at] = Number.parseInt(uid.slice(0, 8), 16);
  into[at + 1] = Number.parseInt(uid.slice(9, 13) + uid.slice(14, 18), 16);
  into[at + 2] = Number.parseInt(uid.slice(19, 23) + uid.slice(24, 28), 16);
  into[at + 3] = Number.parseInt(uid.slice(28), 16);
  return true;
}

/** What {@link packUid} took. */
export function uidOf(from: Words, at = 0): string {
  const hex = [at, at + 1, at + 2, at + 3].map((place) => (from[place] ?? 0).toString(16).padStart(8, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
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

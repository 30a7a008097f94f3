import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

const CACHE_LIMIT = 65_536;
const ipv4Texts = new Map<number, string>();
const ipv6Texts = new Map<string, string>();

/**
 * Canonical text of the 16 address bytes at `offset` (network order, IPv4 as ::ffff:a.b.c.d): dotted for IPv4, RFC 5952 for IPv6.
 * The texts of recent addresses are kept, so that a busy address costs one look-up.
 */
export function addressText(view: DataView, offset: number): string {
  if (view.getUint32(offset) === 0 && view.getUint32(offset + 4) === 0 && view.getUint32(offset + 8) === 0xffff) {
    return ipv4Text(view.getUint32(offset + 12));
  }
  const key = `${view.getUint32(offset)}:${view.getUint32(offset + 4)}:${view.getUint32(offset + 8)}:${view.getUint32(offset + 12)}`;
  const known = ipv6Texts.get(key);
  if (known !== undefined) return known;
  const bytes = Array.from(new Uint8Array(view.buffer, view.byteOffset + offset, 16));
  const text = new ipaddr.IPv6(bytes).toRFC5952String();
  if (ipv6Texts.size >= CACHE_LIMIT) ipv6Texts.clear();
  ipv6Texts.set(key, text);
  return text;
}

function ipv4Text(word: number): string {
  const known = ipv4Texts.get(word);
  if (known !== undefined) return known;
  const text = `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
  if (ipv4Texts.size >= CACHE_LIMIT) ipv4Texts.clear();
  ipv4Texts.set(word, text);
  return text;
}

/** The 16 bytes (network order, IPv4 as ::ffff:a.b.c.d) of an address' text, or undefined when it is none. */
export function addressBytes(text: string): Uint8Array | undefined {
  if (!ipaddr.isValid(text)) return undefined;
  const address = ipaddr.parse(text);
  const ipv6 = address.kind() === 'ipv4' ? (address as ipaddr.IPv4).toIPv4MappedAddress() : (address as ipaddr.IPv6);
  return Uint8Array.from(ipv6.toByteArray());
}

/** Text of an IPv4 or IPv6 address, without a zone. */
export function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes('%');
}

/** An address of one host, not of a group: neither multicast nor 255.255.255.255. */
export function isUnicast(text: string): boolean {
  if (!ipaddr.isValid(text)) return false;
  const range = ipaddr.parse(text).range();
  return range !== 'multicast' && range !== 'broadcast';
}

/** Loopback or link-local: each host, or link, has its own of the same text. */
export function isLocalScope(text: string): boolean {
  if (!ipaddr.isValid(text)) return false;
  const range = ipaddr.parse(text).range();
  return range === 'loopback' || range === 'linkLocal';
}

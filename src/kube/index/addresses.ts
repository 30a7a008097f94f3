import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** The address as events write it (RFC 5952, a mapped IPv4 address as IPv4), or undefined for what is none. */
export function canonicalIp(text: unknown): string | undefined {
  if (typeof text !== 'string') return undefined;
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const address = ipaddr.IPv6.parse(text);
  return address.isIPv4MappedAddress() ? address.toIPv4Address().toString() : address.toRFC5952String();
}

/** Whether an address can belong to one host at all: not multicast, broadcast, loopback, link-local or unspecified. */
export function isHostAddress(ip: string): boolean {
  if (ip.includes(':')) return !/^(?:ff|fe[89ab]|::1?$)/.test(ip);
  const dot = ip.indexOf('.');
  const first = Number(ip.slice(0, dot));
  if (first === 0 || first === 127 || first >= 224) return false;
  return !ip.startsWith('169.254.');
}

/** A set of address ranges; `has` is meant to be called through a cache. */
export class Ranges {
  readonly #byBits = new Map<string, Set<string>>();

  /** Leaves out what is no CIDR. */
  constructor(cidrs: Iterable<string>) {
    for (const cidr of cidrs) {
      if (!ipaddr.isValidCIDR(cidr)) continue;
      const [address, bits] = ipaddr.parseCIDR(cidr);
      const kind = `${address.kind()}/${bits}`;
      const prefixes = this.#byBits.get(kind) ?? new Set();
      this.#byBits.set(kind, prefixes.add(masked(address.toByteArray(), bits)));
    }
  }

  has(ip: string): boolean {
    if (!ipaddr.isValid(ip)) return false;
    const address = ipaddr.parse(ip);
    const bytes = address.toByteArray();
    for (const [kind, prefixes] of this.#byBits) {
      const [family, bits] = kind.split('/');
      if (family === address.kind() && prefixes.has(masked(bytes, Number(bits)))) return true;
    }
    return false;
  }
}

/** The n-th address of a range (0 is the network's own), or undefined when it is none or too small. */
export function addressIn(cidr: string, n: number): string | undefined {
  if (!ipaddr.isValidCIDR(cidr)) return undefined;
  const [address, bits] = ipaddr.parseCIDR(cidr);
  const bytes = address.toByteArray();
  if (bytes.length * 8 - bits < 2) return undefined;
  const network = [...Buffer.from(masked(bytes, bits), 'latin1')];
  network[network.length - 1] = (network.at(-1) ?? 0) + n;
  return canonicalIp(ipaddr.fromByteArray(network).toString());
}

function masked(bytes: number[], bits: number): string {
  const out = bytes.map((byte, i) => {
    const kept = Math.min(8, Math.max(0, bits - i * 8));
    return byte & (0xff << (8 - kept)) & 0xff;
  });
  return Buffer.from(out).toString('latin1');
}

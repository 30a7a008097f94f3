import { addressBytes, addressText, isLocalScope } from '../../util/address.ts';

const BITS = 65_536;

/** An empty `target_bits` (bpf/base/maps.h): one bit for each hash of an address. The kernel's set of ports has as many. */
export function emptyBits(): Uint8Array {
  return new Uint8Array(BITS / 8);
}

/** Sets a bit, by {@link bitOf}. */
export function setBit(bits: Uint8Array, bit: number): void {
  // An array of u64 on a little-endian machine: bit n lies in byte n / 8.
  const byte = bit >> 3;
  bits[byte] = (bits[byte] ?? 0) | (1 << (bit & 7));
}

/** An address as the kernel's maps need it. */
export interface KnownAddress {
  bytes: Uint8Array;
  /** `bytes` in hex. */
  hex: string;
  bit: number;
  /** As events write it. */
  text: string;
  isLocalScope: boolean;
}

/** More than the kernel's `targets` has room for, with the node's own. */
const MOST_KNOWN = 262_144;
const known = new Map<string, KnownAddress>();

/**
 * An address from its text. Each text is parsed once, as what is followed is resolved again and again, and is mostly the same. Throws when it is no
 * address (they come from Kubernetes or a validated message).
 */
export function addressOf(ip: string): KnownAddress {
  const found = known.get(ip);
  if (found !== undefined) return found;
  const bytes = addressBytes(ip);
  if (bytes === undefined) throw new TypeError(`Expected an IP address, got ${JSON.stringify(ip)}`);
  const address: KnownAddress = {
    bytes,
    hex: Buffer.from(bytes).toString('hex'),
    bit: bitOf(bytes),
    text: addressText(new DataView(bytes.buffer), 0),
    isLocalScope: isLocalScope(ip),
  };
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(ip, address);
  return address;
}

/** The bit of 16 address bytes; the same hash as `has_bit` in bpf/hook/match.h. */
export function bitOf(address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, 16);
  const sum =
    Math.imul(view.getUint32(0, true), 0x85ebca6b) +
    Math.imul(view.getUint32(4, true), 0xc2b2ae35) +
    Math.imul(view.getUint32(8, true), 0x27d4eb2f) +
    view.getUint32(12, true);
  return Math.imul(sum | 0, 0x9e3779b1) >>> 16;
}

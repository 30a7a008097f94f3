import { addressBytes } from '../../../src/util/address.ts';

/** Packets out of their headers, innermost last: `ethernet(ipv4({…}, udp({…})))`. Checksums are left zero: nobody here looks at them. */

export const IPV4 = 0x0800;
export const IPV6 = 0x86dd;
export const ARP = 0x0806;
/** An EtherType that the kernel's test run does not look behind: it refuses IP that is shorter than its header. */
export const UNKNOWN = 0x9999;

const bytesOf = (ip: string): Uint8Array => {
  const bytes = addressBytes(ip)!;
  return ip.includes(':') ? bytes : bytes.subarray(12);
};

export function ethernet(type: number, l3: Uint8Array): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, l3]);
}

export interface Ipv4Header {
  src: string;
  dst: string;
  proto: number;
  id?: number;
  ttl?: number;
  offset?: number;
  more?: boolean;
  /** A multiple of four bytes. */
  options?: Uint8Array;
}

export function ipv4(
  { src, dst, proto, id = 1, ttl = 64, offset = 0, more = false, options = new Uint8Array() }: Ipv4Header,
  payload: Uint8Array,
): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x40 | (5 + options.length / 4);
  header.writeUInt16BE(20 + options.length + payload.length, 2);
  header.writeUInt16BE(id, 4);
  header.writeUInt16BE((more ? 0x2000 : 0) | (offset / 8), 6);
  header[8] = ttl;
  header[9] = proto;
  header.set(bytesOf(src), 12);
  header.set(bytesOf(dst), 16);
  return Buffer.concat([header, options, payload]);
}

export function ipv6({ src, dst, next }: { src: string; dst: string; next: number }, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(payload.length, 4);
  header[6] = next;
  header[7] = 64;
  header.set(bytesOf(src), 8);
  header.set(bytesOf(dst), 24);
  return Buffer.concat([header, payload]);
}

/** Hop-by-hop, routing, destination options, mobility: `length` in units of eight bytes past the first. */
export function extension(next: number, length: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(8 + length * 8);
  header[0] = next;
  header[1] = length;
  return Buffer.concat([header, payload]);
}

export function fragmentHeader(
  { next, offset, more, id }: { next: number; offset: number; more: boolean; id: number },
  payload: Uint8Array,
): Buffer {
  const header = Buffer.alloc(8);
  header[0] = next;
  header.writeUInt16BE(offset | (more ? 1 : 0), 2);
  header.writeUInt32BE(id, 4);
  return Buffer.concat([header, payload]);
}

/** An authentication header of 24 bytes, as with HMAC-SHA1-96. */
export function authentication(next: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(24);
  header[0] = next;
  header[1] = 4;
  return Buffer.concat([header, payload]);
}

export interface TcpHeader {
  sport: number;
  dport: number;
  seq?: number;
  ack?: number;
  flags?: number;
}

export function tcp({ sport, dport, seq = 1, ack = 2, flags = 0x10 }: TcpHeader, payload: Uint8Array = new Uint8Array()): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(sport, 0);
  header.writeUInt16BE(dport, 2);
  header.writeUInt32BE(seq, 4);
  header.writeUInt32BE(ack, 8);
  header[12] = 0x50;
  header[13] = flags;
  return Buffer.concat([header, payload]);
}

export function udp({ sport, dport }: { sport: number; dport: number }, payload: Uint8Array = new Uint8Array()): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(sport, 0);
  header.writeUInt16BE(dport, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  return Buffer.concat([header, payload]);
}

export function sctp({ sport, dport }: { sport: number; dport: number }, payload: Uint8Array = new Uint8Array()): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(sport, 0);
  header.writeUInt16BE(dport, 2);
  return Buffer.concat([header, payload]);
}

/** `rest` is the second word: id and sequence of an echo, the MTU of "too big". */
export function icmp(
  { type, code = 0, rest = 0 }: { type: number; code?: number; rest?: number },
  payload: Uint8Array = new Uint8Array(),
): Buffer {
  const header = Buffer.alloc(8);
  header[0] = type;
  header[1] = code;
  header.writeUInt32BE(rest, 4);
  return Buffer.concat([header, payload]);
}

export const echoOf = (id: number, seq: number): number => id * 65_536 + seq;

/** RFC 8926. `type`: of what is inside; a frame unless given. */
export function geneve(vni: number, inner: Uint8Array, { options = 0, type = 0x6558, first = 0, flags = 0 } = {}): Buffer {
  const header = Buffer.alloc(8 + options * 4, 0xee);
  header[0] = first | options;
  header[1] = flags;
  header.writeUInt16BE(type, 2);
  header.writeUInt32BE(vni * 256, 4);
  return Buffer.concat([header, inner]);
}

/** The VXLAN header and an Ethernet frame inside. */
export function vxlan(vni: number, type: number, l3: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 0x08;
  header.writeUInt32BE(vni * 256, 4);
  return Buffer.concat([header, ethernet(type, l3)]);
}

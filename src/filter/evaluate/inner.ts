import { GENEVE_PORTS, VXLAN_PORTS } from './tunnel-ports.ts';

/** An IP packet from its header on, as far as it was captured. */
export interface IpBytes {
  bytes: DataView;
  /** IP length on the wire. */
  wireBytes: number;
}

const IP = 0x0800;
const IP6 = 0x86dd;
/** A frame, as the protocol of what is in Geneve. */
const BRIDGED = 0x6558;
const ETHERNET_BYTES = 14;
const MAX_DEPTH = 4;
const UDP = 17;
const IPIP = 4;
const IPV6_IN_IP = 41;

/** The packets that travel inside a tunnel's packet: VXLAN and Geneve on the usual ports, IPv4 and IPv6 in either. The outermost first. */
export function innerPackets(outer: DataView): IpBytes[] {
  const found: IpBytes[] = [];
  let at: DataView | undefined = outer;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    at = innerOf(at);
    if (at === undefined) break;
    found.push({ bytes: at, wireBytes: wireLength(at) });
  }
  return found;
}

function innerOf(ip: DataView): DataView | undefined {
  const head = headerOf(ip);
  if (head === undefined) return undefined;
  const { protocol, bytes } = head;
  if (protocol === IPIP || protocol === IPV6_IN_IP) return behind(ip, bytes, protocol === IPIP ? 4 : 6);
  // UDP, then a header of at least 8 bytes.
  if (protocol !== UDP || bytes + 16 > ip.byteLength) return undefined;
  const port = ip.getUint16(bytes + 2);
  if (VXLAN_PORTS.includes(port)) return inVxlan(ip, bytes + 8);
  return GENEVE_PORTS.includes(port) ? inGeneve(ip, bytes + 8) : undefined;
}

/** RFC 7348 section 5: a frame, behind a header that says which network it is of. */
function inVxlan(ip: DataView, at: number): DataView | undefined {
  return (ip.getUint8(at) & 0x08) === 0 ? undefined : inFrame(ip, at + 8);
}

/** RFC 8926 section 3.4: options of any length, then a frame or, by some senders, IP itself; control messages carry neither. */
function inGeneve(ip: DataView, at: number): DataView | undefined {
  const [head, flags, type] = [ip.getUint8(at), ip.getUint8(at + 1), ip.getUint16(at + 2)];
  if (head >> 6 !== 0 || (flags & 0x80) !== 0) return undefined;
  const data = at + 8 + (head & 0x3f) * 4;
  return type === BRIDGED ? inFrame(ip, data) : ofType(ip, data, type);
}

function inFrame(ip: DataView, at: number): DataView | undefined {
  const end = at + ETHERNET_BYTES;
  return end > ip.byteLength ? undefined : ofType(ip, end, ip.getUint16(end - 2));
}

function ofType(ip: DataView, at: number, type: number): DataView | undefined {
  return type === IP || type === IP6 ? behind(ip, at, type === IP ? 4 : 6) : undefined;
}

/** Undefined for what is no IP, and for later fragments: their data is the middle of a packet. */
function headerOf(ip: DataView): { protocol: number; bytes: number } | undefined {
  const version = ip.byteLength > 0 ? ip.getUint8(0) >> 4 : 0;
  if (version === 6) return ip.byteLength < 40 ? undefined : { protocol: ip.getUint8(6), bytes: 40 };
  if (version !== 4 || ip.byteLength < 20 || (ip.getUint16(6) & 0x1fff) !== 0) return undefined;
  return { protocol: ip.getUint8(9), bytes: (ip.getUint8(0) & 15) * 4 };
}

function behind(ip: DataView, offset: number, version: 4 | 6): DataView | undefined {
  if (offset >= ip.byteLength || ip.getUint8(offset) >> 4 !== version) return undefined;
  return new DataView(ip.buffer, ip.byteOffset + offset, ip.byteLength - offset);
}

/** As its own header says it, where that was captured. */
function wireLength(ip: DataView): number {
  if (ip.getUint8(0) >> 4 === 6) return ip.byteLength >= 6 ? ip.getUint16(4) + 40 : ip.byteLength;
  return ip.byteLength >= 4 ? ip.getUint16(2) : ip.byteLength;
}

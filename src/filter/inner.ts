/** An IP packet from its header on, as far as it was captured. */
export interface IpBytes {
  bytes: DataView;
  /** IP length on the wire. */
  wireBytes: number;
}

/** flannel's port, and IANA's (RFC 7348), which everybody else uses. */
const VXLAN_PORTS = new Set([8472, 4789]);
const ETHERTYPES = new Set([0x0800, 0x86dd]);
const MAX_DEPTH = 4;
const UDP = 17;
const IPIP = 4;
const IPV6_IN_IP = 41;

/** The packets that travel inside a tunnel's packet: VXLAN on the usual ports, IPv4 and IPv6 in either. The outermost first. */
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
  // UDP, VXLAN with a valid network (RFC 7348 section 5), then a frame.
  const frame = bytes + 16;
  if (protocol !== UDP || frame + 14 > ip.byteLength) return undefined;
  if (!VXLAN_PORTS.has(ip.getUint16(bytes + 2)) || (ip.getUint8(bytes + 8) & 0x08) === 0) return undefined;
  const type = ip.getUint16(frame + 12);
  return ETHERTYPES.has(type) ? behind(ip, frame + 14, type === 0x0800 ? 4 : 6) : undefined;
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

import { isIcmpError } from '../../event/names.ts';
import type { Sighting } from '../../event/sighting.ts';
import { addressText } from '../../util/address.ts';
import type { CapturedPacket } from './captured-packet.ts';
import { payloadOf } from './link-payload.ts';

const TCP = 6;
const UDP = 17;
const SCTP = 132;
const ICMP = 1;
const ICMP6 = 58;
const FRAGMENT = 44;
/** Hop-by-hop options, routing, destination options: headers that say their own length in units of 8 bytes (RFC 8200 section 4). */
const EXTENSIONS = new Set([0, 43, 60]);
const AUTHENTICATION = 51;
const MAX_EXTENSIONS = 8;

type Headers = Pick<Sighting, 'ipVersion' | 'proto' | 'tuple' | 'ipId' | 'fragment' | 'len'> & {
  /** Where the transport header is; undefined in a later fragment, and where the packet is cut before it. */
  transport: number | undefined;
};

/** What a captured packet says. */
export interface Dissected {
  sighting: Sighting;
  /** Fewer bytes were captured than its headers have: addresses that are missing are empty, ports 0. */
  isCut: boolean;
}

/** A captured IP packet; undefined when it is something else. A tunnel is not looked into: what is told is the packet as it lies there. */
export function dissect(packet: CapturedPacket): Dissected | undefined {
  const l3 = payloadOf(packet);
  if (l3 === undefined) return undefined;
  const { bytes } = l3;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headers = l3.version === 4 ? ipv4Headers(view) : ipv6Headers(view);
  const sighting: Sighting = {
    timeNs: packet.timeNs,
    skb: 0,
    netns: 0,
    ifindex: packet.interfaceIndex + 1,
    hook: 'tc-in',
    provisional: false,
    nothingNew: false,
    entry: true,
    len: headers.len || Math.max(0, packet.wireBytes - l3.offset),
    gsoSegs: 1,
    ipVersion: l3.version,
    proto: headers.proto,
    tuple: headers.tuple,
    ipId: headers.ipId,
    fragment: headers.fragment,
    tcp: undefined,
    icmp: undefined,
    quoted: undefined,
    conntrack: undefined,
    tunnel: undefined,
    vlan: l3.vlan,
    drop: undefined,
    rewrite: undefined,
    sent: undefined,
    payloadHash: 0,
    data: bytes,
    headerBytes: bytes.length,
  };
  if (headers.transport !== undefined) addTransport(sighting, view, headers.transport);
  const headerBytes = headers.transport === undefined ? 20 : headers.transport + transportBytes(headers.proto);
  return { sighting, isCut: view.byteLength < (l3.version === 4 ? headerBytes : Math.max(headerBytes, 40)) };
}

/** As much of a transport header as is told. */
function transportBytes(proto: number): number {
  if (proto === TCP) return 14;
  return proto === UDP || proto === SCTP || proto === ICMP || proto === ICMP6 ? 8 : 0;
}

/** RFC 791. */
function ipv4Headers(view: DataView): Headers {
  const fragmentation = half(view, 6);
  const fragment = { offset: (fragmentation & 0x1fff) * 8, more: (fragmentation & 0x2000) !== 0 };
  const headerBytes = (byte(view, 0) & 0xf) * 4;
  return {
    ipVersion: 4,
    proto: byte(view, 9),
    tuple: { src: ipv4At(view, 12), dst: ipv4At(view, 16), sport: 0, dport: 0 },
    ipId: half(view, 4),
    fragment: fragment.offset > 0 || fragment.more ? fragment : undefined,
    len: half(view, 2),
    transport: fragment.offset === 0 && headerBytes >= 20 ? headerBytes : undefined,
  };
}

/** RFC 8200, through its extension headers as far as they were captured. */
function ipv6Headers(view: DataView): Headers {
  const headers: Headers = {
    ipVersion: 6,
    proto: byte(view, 6),
    tuple: { src: ipv6At(view, 8), dst: ipv6At(view, 24), sport: 0, dport: 0 },
    ipId: 0,
    fragment: undefined,
    len: view.byteLength < 6 ? 0 : 40 + half(view, 4),
    transport: undefined,
  };
  let at = 40;
  for (let count = 0; count < MAX_EXTENSIONS; count++) {
    if (headers.proto === FRAGMENT && at + 8 <= view.byteLength) {
      const word = half(view, at + 2);
      headers.fragment = { offset: word & 0xfff8, more: (word & 1) === 1 };
      headers.ipId = view.getUint32(at + 4);
      headers.proto = byte(view, at);
      at += 8;
      if (headers.fragment.offset > 0) return headers;
    } else if ((EXTENSIONS.has(headers.proto) || headers.proto === AUTHENTICATION) && at + 2 <= view.byteLength) {
      const bytes = headers.proto === AUTHENTICATION ? (byte(view, at + 1) + 2) * 4 : (byte(view, at + 1) + 1) * 8;
      headers.proto = byte(view, at);
      at += bytes;
    } else {
      break;
    }
  }
  headers.transport = at;
  return headers;
}

function addTransport(sighting: Sighting, view: DataView, at: number): void {
  const { proto, tuple, ipVersion } = sighting;
  if (proto === TCP || proto === UDP || proto === SCTP) {
    tuple.sport = half(view, at);
    tuple.dport = half(view, at + 2);
    if (proto === TCP && at + 14 <= view.byteLength) {
      sighting.tcp = { seq: view.getUint32(at + 4), ack: view.getUint32(at + 8), flags: byte(view, at + 13) };
    }
  } else if ((ipVersion === 4 && proto === ICMP) || (ipVersion === 6 && proto === ICMP6)) {
    addIcmp(sighting, view, at);
  }
}

/** RFC 792, RFC 1191 section 4 (MTU); RFC 4443. */
function addIcmp(sighting: Sighting, view: DataView, at: number): void {
  if (at + 2 > view.byteLength) return;
  const { ipVersion } = sighting;
  const type = byte(view, at);
  const code = byte(view, at + 1);
  const isTooBig = ipVersion === 6 ? type === 2 : type === 3 && code === 4;
  const mtu = !isTooBig || at + 8 > view.byteLength ? 0 : ipVersion === 6 ? view.getUint32(at + 4) : half(view, at + 6);
  sighting.icmp = { type, code, id: half(view, at + 4), seq: half(view, at + 6), mtu };
  if (!isIcmpError(ipVersion, type) || at + 8 + (ipVersion === 6 ? 40 : 20) > view.byteLength) return;
  const quoted = new DataView(view.buffer, view.byteOffset + at + 8, view.byteLength - at - 8);
  const { proto, tuple, transport } = ipVersion === 6 ? ipv6Headers(quoted) : ipv4Headers(quoted);
  if (transport !== undefined && (proto === TCP || proto === UDP || proto === SCTP)) {
    tuple.sport = half(quoted, transport);
    tuple.dport = half(quoted, transport + 2);
  }
  sighting.quoted = { proto, tuple };
  if (transport === undefined || transport + 8 > quoted.byteLength || !isEcho(proto, byte(quoted, transport))) return;
  tuple.sport = half(quoted, transport + 4);
  sighting.quoted.seq = half(quoted, transport + 6);
}

function isEcho(proto: number, type: number): boolean {
  return proto === ICMP ? type === 8 || type === 0 : proto === ICMP6 && (type === 128 || type === 129);
}

/** 0 where nothing was captured. */
function byte(view: DataView, at: number): number {
  return at + 1 <= view.byteLength ? view.getUint8(at) : 0;
}

function half(view: DataView, at: number): number {
  return at + 2 <= view.byteLength ? view.getUint16(at) : 0;
}

function ipv4At(view: DataView, at: number): string {
  return at + 4 <= view.byteLength ? [0, 1, 2, 3].map((index) => view.getUint8(at + index)).join('.') : '';
}

function ipv6At(view: DataView, at: number): string {
  return at + 16 <= view.byteLength ? addressText(view, at) : '';
}

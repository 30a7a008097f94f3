import ipaddr from 'ipaddr.js';
import type { Endpoint, Tunnel } from '../../event/types.ts';
import type { Holes } from '../compile/run.ts';
import { sideOf, type Told } from './ends.ts';

/** One way in which a packet can be looked at: from its IP header on. */
export interface View {
  bytes: DataView;
  /** IP length on the wire; a conversation has none. */
  wireBytes: number | undefined;
  holes: Holes;
  isOuter: boolean;
}

const NUMBERS: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, icmp6: 58, sctp: 132 };
const WITH_PORTS = new Set([6, 17, 132]);
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const UDP_BYTES = 8;
/** UDP, VXLAN and the inner frame's own header. */
const VXLAN_BYTES = UDP_BYTES + 8 + 14;
const FRAGMENT_OFFSET = 0x1fff;

/**
 * All that a packet is at one time or another: as captured at the hooks, before and after its translations, and the outer packets of the tunnels it
 * was in. `captured` are its distinct bytes from its own IP header on; without any, what the record says stands for them. `vxlanPort` is what the
 * node's tunnels are sent to, where it is known. Each view is made when it is asked for: most filters have decided after the first.
 */
export class Views {
  readonly #told: Told;
  readonly #vxlanPort: number | undefined;
  readonly #views: View[];
  /** What is made next. */
  #next: 'translated' | 'outer' | undefined = 'translated';

  constructor(told: Told, captured: readonly Uint8Array[], vxlanPort: number | undefined) {
    this.#told = told;
    this.#vxlanPort = vxlanPort;
    const wireBytes = told.kind === 'packet' ? told.len : undefined;
    if (captured.length === 0) this.#views = [recorded(told, wireBytes)];
    else this.#views = captured.map((bytes) => ({ bytes: viewOf(bytes), wireBytes, holes: NO_HOLES, isOuter: false }));
  }

  /** Undefined after the last. */
  at(index: number): View | undefined {
    while (index >= this.#views.length && this.#next !== undefined) this.#more();
    return this.#views[index];
  }

  #more(): void {
    const own = this.#views;
    if (this.#next === 'translated') {
      if (this.#told.nat !== undefined) own.push(...own.flatMap((view) => translated(view, this.#told)));
      this.#next = 'outer';
    } else {
      own.push(...outerViews(this.#told, this.#vxlanPort));
      this.#next = undefined;
    }
  }
}

const NO_HOLES: Holes = [];

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Addresses, protocol and ports; all else is not known. Of a conversation the length is not, either. */
function recorded(told: Told, wireBytes: number | undefined): View {
  const proto = NUMBERS[told.proto] ?? Number(told.proto);
  const head = header(told.src.ip, told.dst.ip, proto, wireBytes);
  const l4 = head.bytes.length;
  const isLater = told.kind === 'packet' && (told.fragment?.offset ?? 0) > 0;
  const hasPorts = WITH_PORTS.has(proto) && !isLater && told.src.port !== undefined && told.dst.port !== undefined;
  const bytes = zeroed(l4 + (hasPorts ? 4 : 0));
  bytes.set(head.bytes);
  if (isLater && l4 === IPV4_BYTES) bytes.writeUInt16BE(FRAGMENT_OFFSET, 6);
  if (hasPorts) {
    bytes.writeUInt16BE(told.src.port as number, l4);
    bytes.writeUInt16BE(told.dst.port as number, l4 + 2);
  }
  return { bytes: viewOf(bytes), wireBytes, holes: head.holes, isOuter: false };
}

/** The view with every translation done that its addresses allow, in order, and with each undone. */
function translated(view: View, told: Told): View[] {
  const views: View[] = [];
  const follow = (from: 'before' | 'after', to: 'before' | 'after'): void => {
    let at = view.bytes;
    for (const one of (from === 'before' ? told.nat : told.nat?.toReversed()) ?? []) {
      const next = rewritten(at, sideOf(told, one), one[from], one[to]);
      if (next === undefined) continue;
      at = next;
      views.push({ ...view, bytes: next });
    }
  };
  follow('before', 'after');
  follow('after', 'before');
  return views;
}

/** Undefined where this end of the packet is another one. */
function rewritten(view: DataView, side: 'src' | 'dst', from: Endpoint, to: Endpoint): DataView | undefined {
  const isV6 = view.byteLength > 0 && view.getUint8(0) >> 4 === 6;
  const [before, after] = [addressBytes(from.ip), addressBytes(to.ip)];
  const at = isV6 ? (side === 'src' ? 8 : 24) : side === 'src' ? 12 : 16;
  if (before.length !== (isV6 ? 16 : 4) || after.length !== before.length || at + before.length > view.byteLength)
    return undefined;
  if (before.some((byte, index) => view.getUint8(at + index) !== byte)) return undefined;
  const copy = Buffer.from(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  const portAt = portOffset(view, isV6) + (side === 'src' ? 0 : 2);
  if (from.port !== undefined && to.port !== undefined && portAt + 2 <= copy.length) {
    if (copy.readUInt16BE(portAt) !== from.port) return undefined;
    copy.writeUInt16BE(to.port, portAt);
  }
  copy.set(after, at);
  return viewOf(copy);
}

/** Where the ports are; infinite when there are none in this packet. */
function portOffset(view: DataView, isV6: boolean): number {
  if (isV6) return view.byteLength >= IPV6_BYTES && WITH_PORTS.has(view.getUint8(6)) ? IPV6_BYTES : Number.POSITIVE_INFINITY;
  if (view.byteLength < IPV4_BYTES || !WITH_PORTS.has(view.getUint8(9))) return Number.POSITIVE_INFINITY;
  return (view.getUint16(6) & FRAGMENT_OFFSET) === 0 ? (view.getUint8(0) & 15) * 4 : Number.POSITIVE_INFINITY;
}

function outerViews(told: Told, vxlanPort: number | undefined): View[] {
  if (told.kind === 'flow') return [];
  const tunnels = new Map<string, Tunnel>();
  for (const { tunnel } of told.hops) if (tunnel !== undefined) tunnels.set(`${tunnel.kind} ${tunnel.src} ${tunnel.dst}`, tunnel);
  return [...tunnels.values()].map((tunnel) => outerView(tunnel, told, vxlanPort));
}

function outerView({ kind, src, dst }: Tunnel, told: Told & { kind: 'packet' }, vxlanPort: number | undefined): View {
  const isInUdp = kind !== 'ipip';
  const proto = isInUdp ? 17 : told.src.ip.includes(':') ? 41 : 4;
  const headBytes = src.includes(':') ? IPV6_BYTES : IPV4_BYTES;
  // A record does not say how many options are in Geneve's header.
  const wireBytes = kind === 'geneve' ? undefined : told.len + headBytes + (isInUdp ? VXLAN_BYTES : 0);
  const head = header(src, dst, proto, wireBytes);
  const holes = [...head.holes];
  const bytes = zeroed(headBytes + (isInUdp ? UDP_BYTES : 0));
  bytes.set(head.bytes);
  if (isInUdp) {
    const port = kind === 'vxlan' ? vxlanPort : undefined;
    // The source port is a hash of the inner flow, which the record does not have.
    holes.push([headBytes, headBytes + 2], [headBytes + 6, headBytes + 8]);
    if (port === undefined) holes.push([headBytes + 2, headBytes + 4]);
    else bytes.writeUInt16BE(port, headBytes + 2);
    if (wireBytes === undefined) holes.push([headBytes + 4, headBytes + 6]);
    else bytes.writeUInt16BE(wireBytes - headBytes, headBytes + 4);
  }
  return { bytes: viewOf(bytes), wireBytes, holes, isOuter: true };
}

/** An IP header without options, and what of it a record does not say. */
function header(src: string, dst: string, proto: number, wireBytes: number | undefined): { bytes: Buffer; holes: Holes } {
  const [source, destination] = [addressBytes(src), addressBytes(dst)];
  const isV6 = source.length === 16;
  const bytes = zeroed(isV6 ? IPV6_BYTES : IPV4_BYTES);
  if (isV6) {
    bytes[0] = 0x60;
    bytes.writeUInt16BE(Math.max(0, (wireBytes ?? 0) - IPV6_BYTES) & 0xffff, 4);
    bytes[6] = proto;
    bytes.set(source, 8);
    if (destination.length === 16) bytes.set(destination, 24);
    return { bytes, holes: wireBytes === undefined ? HOLES.v6WithoutLength : HOLES.v6 };
  }
  bytes[0] = 0x45;
  bytes.writeUInt16BE((wireBytes ?? 0) & 0xffff, 2);
  bytes[9] = proto;
  bytes.set(source, 12);
  if (destination.length === 4) bytes.set(destination, 16);
  return { bytes, holes: wireBytes === undefined ? HOLES.v4WithoutLength : HOLES.v4 };
}

/** What a record does not say of a header without options. */
const HOLES = {
  v4: [
    [1, 2],
    [4, 6],
    [8, 9],
    [10, 12],
  ],
  v4WithoutLength: [
    [1, 6],
    [8, 9],
    [10, 12],
  ],
  v6: [
    [1, 4],
    [7, 8],
  ],
  v6WithoutLength: [
    [1, 6],
    [7, 8],
  ],
} as const satisfies Record<string, Holes>;

/** Of the memory that Node keeps for small buffers: one of its own costs as much as all that is done with it here. */
function zeroed(bytes: number): Buffer {
  return Buffer.allocUnsafe(bytes).fill(0);
}

const CACHE_LIMIT = 16_384;
const knownBytes = new Map<string, readonly number[]>();

/** Nothing for what is no address. Those of recent addresses are kept. */
function addressBytes(ip: string): readonly number[] {
  const known = knownBytes.get(ip);
  if (known !== undefined) return known;
  const bytes = ipaddr.isValid(ip) ? ipaddr.parse(ip).toByteArray() : [];
  if (knownBytes.size >= CACHE_LIMIT) knownBytes.clear();
  knownBytes.set(ip, bytes);
  return bytes;
}

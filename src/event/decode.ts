import { addressText } from '../util/address.ts';
import { FLAG, HOOK, SIGHTING, TUNNEL, TUPLE } from './layout.ts';
import type { ConntrackSeen, Rewrite, Sighting, Tuple } from './sighting.ts';
import type { TunnelKind } from './types.ts';

/** Bytes before each record in a batch: its length (u32, little endian) and four zero bytes. */
const PREFIX_BYTES = 8;

/**
 * Decodes a batch as the addon hands it over and calls `onSighting` for each record, in order. Gives how many records were malformed
 * (shorter than its fields, or cut off): they are skipped, the caller counts them.
 */
export function decodeBatch(batch: Uint8Array, onSighting: (sighting: Sighting) => void): { malformed: number } {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  let offset = 0;
  let malformed = 0;
  while (offset + PREFIX_BYTES <= batch.byteLength) {
    const length = view.getUint32(offset, true);
    const start = offset + PREFIX_BYTES;
    if (length < SIGHTING.data || start + length > batch.byteLength) malformed += 1;
    else onSighting(decodeSighting(view, start, length));
    offset = start + Math.ceil(length / 8) * 8;
  }
  return { malformed };
}

/** Decodes one `struct ktrace_sighting` that lies at `at`; its data goes to the end of its `length` bytes at most. */
function decodeSighting(view: DataView, at: number, length: number): Sighting {
  const dataBytes = Math.min(view.getUint16(at + SIGHTING.dataLen, true), length - SIGHTING.data);
  const flags = view.getUint32(at + SIGHTING.flags, true);
  const hook = view.getUint8(at + SIGHTING.hook);
  const proto = view.getUint8(at + SIGHTING.proto);
  const hasL4 = (flags & FLAG.l4) !== 0;
  return {
    timeNs: view.getBigUint64(at + SIGHTING.timeNs, true),
    skb: view.getBigUint64(at + SIGHTING.skb, true),
    netns: view.getUint32(at + SIGHTING.netns, true),
    ifindex: view.getUint32(at + SIGHTING.ifindex, true),
    hook: HOOK_NAMES[hook] ?? 'drop',
    provisional: (flags & FLAG.provisional) !== 0,
    nothingNew: (flags & FLAG.nothingNew) !== 0,
    entry: (flags & FLAG.entry) !== 0,
    len: view.getUint32(at + SIGHTING.len, true),
    gsoSegs: view.getUint16(at + SIGHTING.gsoSegs, true),
    ipVersion: view.getUint8(at + SIGHTING.ipVersion),
    proto,
    tuple: decodeTuple(view, at + SIGHTING.tuple),
    ipId: view.getUint32(at + SIGHTING.ipId, true),
    fragment: (flags & FLAG.fragment) === 0 ? undefined : decodeFragment(view, at, flags),
    tcp: proto === 6 && hasL4 ? decodeTcp(view, at) : undefined,
    icmp: (proto === 1 || proto === 58) && hasL4 ? decodeIcmp(view, at) : undefined,
    quoted: (flags & FLAG.quoted) === 0 ? undefined : decodeQuoted(view, at),
    conntrack: (flags & FLAG.conntrack) === 0 ? undefined : decodeConntrack(view, at, flags),
    tunnel: view.getUint8(at + SIGHTING.tunnelKind) === TUNNEL.none ? undefined : decodeTunnel(view, at),
    vlan: (flags & FLAG.vlan) === 0 ? undefined : { id: view.getUint16(at + SIGHTING.vlanTci, true) & 0xfff },
    drop:
      hook === HOOK.drop
        ? {
            reason: view.getUint32(at + SIGHTING.dropReason, true),
            location: view.getBigUint64(at + SIGHTING.dropLocation, true),
          }
        : undefined,
    rewrite: hook !== HOOK.nat || (flags & FLAG.quoted) !== 0 ? undefined : decodeRewrite(flags),
    sent: hook === HOOK.icmpSent ? decodeIcmp(view, at) : undefined,
    payloadHash: view.getUint32(at + SIGHTING.payloadHash, true),
    data: new Uint8Array(view.buffer, view.byteOffset + at + SIGHTING.data, dataBytes),
    headerBytes: Math.min(view.getUint16(at + SIGHTING.headersLen, true), dataBytes),
  };
}

const HOOK_NAMES: Record<number, Sighting['hook']> = {
  [HOOK.tcIn]: 'tc-in',
  [HOOK.tcOut]: 'tc-out',
  [HOOK.drop]: 'drop',
  [HOOK.nat]: 'nat',
  [HOOK.confirmed]: 'confirmed',
  [HOOK.icmpSent]: 'icmp-sent',
  [HOOK.icmpReceived]: 'icmp-received',
  [HOOK.echoAnswered]: 'echo-answered',
};

/** Decodes a `struct ktrace_tuple`. */
export function decodeTuple(view: DataView, at: number): Tuple {
  return {
    src: addressText(view, at + TUPLE.src),
    dst: addressText(view, at + TUPLE.dst),
    sport: view.getUint16(at + TUPLE.sport, true),
    dport: view.getUint16(at + TUPLE.dport, true),
  };
}

function decodeRewrite(flags: number): Rewrite {
  const isLocal = (flags & FLAG.natLocal) !== 0;
  if ((flags & FLAG.natSource) === 0) return { end: 'destination', hook: isLocal ? 'output' : 'prerouting' };
  if ((flags & FLAG.natUnhooked) !== 0) return { end: 'source', hook: undefined };
  return { end: 'source', hook: isLocal ? 'input' : 'postrouting' };
}

function decodeFragment(view: DataView, at: number, flags: number): { offset: number; more: boolean } {
  return { offset: view.getUint16(at + SIGHTING.fragmentOffset, true), more: (flags & FLAG.moreFragments) !== 0 };
}

function decodeQuoted(view: DataView, at: number): NonNullable<Sighting['quoted']> {
  const proto = view.getUint8(at + SIGHTING.quotedProto);
  const tuple = decodeTuple(view, at + SIGHTING.quoted);
  const seq = view.getUint16(at + SIGHTING.icmpSeq, true);
  // Other ICMP has neither an id nor a seq.
  const isEcho = (proto === 1 || proto === 58) && (tuple.sport !== 0 || seq !== 0);
  return isEcho ? { proto, tuple, seq } : { proto, tuple };
}

function decodeTcp(view: DataView, at: number): { flags: number; seq: number; ack: number } {
  return {
    flags: view.getUint8(at + SIGHTING.tcpFlags),
    seq: view.getUint32(at + SIGHTING.tcpSeq, true),
    ack: view.getUint32(at + SIGHTING.tcpAck, true),
  };
}

function decodeIcmp(view: DataView, at: number): NonNullable<Sighting['icmp']> {
  return {
    type: view.getUint8(at + SIGHTING.icmpType),
    code: view.getUint8(at + SIGHTING.icmpCode),
    id: view.getUint16(at + SIGHTING.icmpId, true),
    seq: view.getUint16(at + SIGHTING.icmpSeq, true),
    mtu: view.getUint16(at + SIGHTING.icmpMtu, true),
  };
}

function decodeConntrack(view: DataView, at: number, flags: number): ConntrackSeen {
  return {
    original: decodeTuple(view, at + SIGHTING.ctOriginal),
    reply: decodeTuple(view, at + SIGHTING.ctReply),
    status: view.getUint32(at + SIGHTING.ctStatus, true),
    isReply: (flags & FLAG.ctReply) !== 0,
    remembered: (flags & FLAG.ctRemembered) !== 0,
  };
}

const TUNNEL_NAMES: ReadonlyMap<number, TunnelKind> = new Map([
  [TUNNEL.vxlan, 'vxlan'],
  [TUNNEL.ipip, 'ipip'],
  [TUNNEL.geneve, 'geneve'],
]);

function decodeTunnel(view: DataView, at: number): NonNullable<Sighting['tunnel']> {
  return {
    kind: TUNNEL_NAMES.get(view.getUint8(at + SIGHTING.tunnelKind)) ?? 'ipip',
    vni: view.getUint32(at + SIGHTING.tunnelVni, true),
    src: addressText(view, at + SIGHTING.tunnelSrc),
    dst: addressText(view, at + SIGHTING.tunnelDst),
  };
}

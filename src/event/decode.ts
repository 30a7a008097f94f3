import { addressText } from '../util/address.ts';
import { FLAG, HOOK, SIGHTING, TUNNEL, TUPLE } from './layout.ts';
import type { ConntrackSeen, Rewrite, Sighting, Tuple } from './sighting.ts';
import type { TunnelKind } from './types.ts';

/** Bytes before each record in a batch: its length (u32, little endian) and four zero bytes. */
const PREFIX_BYTES = 8;

/** All of an sk_buff's address that a number holds exactly. What is left out, the highest eleven bits, is the same for all. */
const SKB_HIGH = 0x1f_ffff;
const NO_BYTES = new Uint8Array(0);
const POOLED_BYTES = 128;

/**
 * Decodes a batch as the addon hands it over and calls `onSighting` for each record, in order. Gives how many records were malformed
 * (shorter than its fields, or cut off): they are skipped, the caller counts them.
 * @param keepsBytes whether the sightings have the captured bytes. They are copied: a view would keep the whole batch in memory for as long as one of its
 * sightings is held
 */
export function decodeBatch(
  batch: Uint8Array,
  onSighting: (sighting: Sighting) => void,
  keepsBytes = true,
): { malformed: number } {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  const kept = keepsBytes ? Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength) : undefined;
  let offset = 0;
  let malformed = 0;
  let before: Decoded | undefined;
  while (offset + PREFIX_BYTES <= batch.byteLength) {
    const length = view.getUint32(offset, true);
    const start = offset + PREFIX_BYTES;
    if (length < SIGHTING.data || start + length > batch.byteLength) {
      malformed += 1;
    } else {
      const sighting = decodeSighting(view, start, { length, kept, before });
      before = { at: start, sighting };
      onSighting(sighting);
    }
    offset = start + Math.ceil(length / 8) * 8;
  }
  return { malformed };
}

interface Decoded {
  at: number;
  sighting: Sighting;
}

interface Decoding {
  /** Of the record; its data goes to the end of these bytes at most. */
  length: number;
  /** The batch, where captured bytes are kept. */
  kept: Buffer | undefined;
  /** The record before in the same batch: most often the same packet at another hook. What is the same of both is one object. */
  before: Decoded | undefined;
}

/** Decodes one `struct ktrace_sighting` that lies at `at`. */
function decodeSighting(view: DataView, at: number, { length, kept, before }: Decoding): Sighting {
  const dataBytes = Math.min(view.getUint16(at + SIGHTING.dataLen, true), length - SIGHTING.data);
  const flags = view.getUint32(at + SIGHTING.flags, true);
  const hook = view.getUint8(at + SIGHTING.hook);
  const proto = view.getUint8(at + SIGHTING.proto);
  const hasL4 = (flags & FLAG.l4) !== 0;
  return {
    timeNs: view.getBigUint64(at + SIGHTING.timeNs, true),
    skb: view.getUint32(at + SIGHTING.skb, true) + (view.getUint32(at + SIGHTING.skb + 4, true) & SKB_HIGH) * 2 ** 32,
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
    tuple: isSame(view, at, before, SIGHTING.tuple) ? before.sighting.tuple : decodeTuple(view, at + SIGHTING.tuple),
    ipId: view.getUint32(at + SIGHTING.ipId, true),
    fragment: (flags & FLAG.fragment) === 0 ? undefined : decodeFragment(view, at, flags),
    tcp: proto === 6 && hasL4 ? decodeTcp(view, at, before?.sighting.tcp) : undefined,
    icmp: (proto === 1 || proto === 58) && hasL4 ? decodeIcmp(view, at) : undefined,
    quoted: (flags & FLAG.quoted) === 0 ? undefined : decodeQuoted(view, at),
    conntrack: (flags & FLAG.conntrack) === 0 ? undefined : decodeConntrack(view, at, flags, before),
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
    data: kept === undefined ? NO_BYTES : keptBytes(kept, at + SIGHTING.data, dataBytes, before?.sighting.data),
    headerBytes: Math.min(view.getUint16(at + SIGHTING.headersLen, true), dataBytes),
  };
}

function keptBytes(batch: Buffer, at: number, length: number, before: Uint8Array = NO_BYTES): Uint8Array {
  if (length === 0) return NO_BYTES;
  if (before.length === length && batch.compare(before, 0, length, at, at + length) === 0) return before;
  // Node takes small buffers from 8 KiB that they keep together: what is long would keep as much of others.
  const copy = length <= POOLED_BYTES ? Buffer.allocUnsafe(length) : Buffer.allocUnsafeSlow(length);
  batch.copy(copy, 0, at, at + length);
  return copy;
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

function decodeTcp(view: DataView, at: number, before: Sighting['tcp']): NonNullable<Sighting['tcp']> {
  const flags = view.getUint8(at + SIGHTING.tcpFlags);
  const seq = view.getUint32(at + SIGHTING.tcpSeq, true);
  const ack = view.getUint32(at + SIGHTING.tcpAck, true);
  return before?.seq === seq && before.ack === ack && before.flags === flags ? before : { flags, seq, ack };
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

function decodeConntrack(view: DataView, at: number, flags: number, before: Decoded | undefined): ConntrackSeen {
  const status = view.getUint32(at + SIGHTING.ctStatus, true);
  const isReply = (flags & FLAG.ctReply) !== 0;
  const remembered = (flags & FLAG.ctRemembered) !== 0;
  const known = before?.sighting.conntrack;
  if (known === undefined || !isSame(view, at, before, SIGHTING.ctOriginal) || !isSame(view, at, before, SIGHTING.ctReply)) {
    const original = decodeTuple(view, at + SIGHTING.ctOriginal);
    return { original, reply: decodeTuple(view, at + SIGHTING.ctReply), status, isReply, remembered };
  }
  if (known.status === status && known.isReply === isReply && known.remembered === remembered) return known;
  return { original: known.original, reply: known.reply, status, isReply, remembered };
}

/** Whether a record has the same tuple as the one before, at an offset of both. */
function isSame(view: DataView, at: number, before: Decoded | undefined, offset: number): before is Decoded {
  if (before === undefined) return false;
  const [one, other] = [at + offset, before.at + offset];
  for (let word = 0; word < TUPLE.size; word += 4) if (view.getUint32(one + word) !== view.getUint32(other + word)) return false;
  return true;
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

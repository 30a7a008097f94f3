import { FLAG, HOOK, SIGHTING, TUNNEL, TUPLE } from '../../src/event/layout.ts';
import type { Tuple } from '../../src/event/sighting.ts';
import { addressBytes } from '../../src/util/address.ts';

/** A `struct ktrace_sighting` with these numbers; what is not told is zero. */
export function record(fields: Partial<Record<Exclude<keyof typeof SIGHTING, 'size'>, number | bigint>>): Uint8Array {
  const bytes = new Uint8Array(SIGHTING.size);
  const view = new DataView(bytes.buffer);
  for (const [name, value] of Object.entries(fields)) put(view, name as keyof typeof SIGHTING, value);
  return bytes;
}

/** Writes a tuple into a record, at the offset of one of its tuple fields. */
export function putTuple(bytes: Uint8Array, at: number, tuple: Tuple): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  bytes.set(addressBytes(tuple.src)!, at + TUPLE.src);
  bytes.set(addressBytes(tuple.dst)!, at + TUPLE.dst);
  view.setUint16(at + TUPLE.sport, tuple.sport, true);
  view.setUint16(at + TUPLE.dport, tuple.dport, true);
}

/** A batch as the addon hands it over: each record behind its length, padded to 8 bytes. */
export function batch(records: readonly Uint8Array[]): Uint8Array {
  const parts = records.map((bytes) => {
    const part = Buffer.alloc(8 + Math.ceil(bytes.length / 8) * 8);
    part.writeUInt32LE(bytes.length);
    part.set(bytes, 8);
    return part;
  });
  return Buffer.concat(parts);
}

/** A masqueraded, DNATed SYN inside VXLAN as one record, every field set. */
export function fullRecord(): Uint8Array {
  const bytes = record({
    timeNs: 5_000_000_001n,
    skb: 0xffff_8880_0000_1000n,
    netns: 4_026_531_840,
    ifindex: 7,
    len: 60,
    flags:
      FLAG.entry | FLAG.conntrack | FLAG.ctReply | FLAG.ctRemembered | FLAG.l4 | FLAG.provisional | FLAG.nothingNew | FLAG.vlan,
    ctStatus: 0x1a8,
    payloadHash: 99,
    tcpSeq: 0xffff_fff0,
    tcpAck: 2,
    ipId: 777,
    tunnelVni: 1,
    gsoSegs: 3,
    dataLen: 3,
    headersLen: 2,
    hook: HOOK.tcOut,
    ipVersion: 4,
    proto: 6,
    tcpFlags: 0x12,
    tunnelKind: TUNNEL.vxlan,
    // Priority 5 is no part of the id.
    vlanTci: 0xa064,
  });
  putTuple(bytes, SIGHTING.tuple, { src: '10.244.1.2', dst: '10.96.0.10', sport: 40_000, dport: 80 });
  putTuple(bytes, SIGHTING.ctOriginal, { src: '10.244.1.2', dst: '10.96.0.10', sport: 40_000, dport: 80 });
  putTuple(bytes, SIGHTING.ctReply, { src: '10.244.2.10', dst: '192.168.0.1', sport: 8080, dport: 61_000 });
  bytes.set(addressBytes('192.168.0.1')!, SIGHTING.tunnelSrc);
  bytes.set(addressBytes('fd00::2')!, SIGHTING.tunnelDst);
  bytes.set([0x45, 1, 2], SIGHTING.data);
  return bytes;
}

const SIZES: Record<number, string[]> = {
  8: ['timeNs', 'skb', 'dropLocation'],
  2: ['gsoSegs', 'fragmentOffset', 'icmpId', 'icmpSeq', 'icmpMtu', 'dataLen', 'headersLen', 'vlanTci'],
  1: ['hook', 'ipVersion', 'proto', 'quotedProto', 'icmpType', 'icmpCode', 'tcpFlags', 'tunnelKind'],
};

function put(view: DataView, name: keyof typeof SIGHTING, value: number | bigint): void {
  const at = SIGHTING[name];
  if (SIZES[8]!.includes(name)) view.setBigUint64(at, BigInt(value), true);
  else if (SIZES[2]!.includes(name)) view.setUint16(at, Number(value), true);
  else if (SIZES[1]!.includes(name)) view.setUint8(at, Number(value));
  else view.setUint32(at, Number(value), true);
}

import type { Captured } from '../event/captured.ts';
import { dropReasonName, icmpName, isIcmpError, protocolName, tcpFlagLetters } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';
import type { Endpoint, Hop, PacketEvent, Verdict } from '../event/types.ts';
import { formatUnixNs } from '../util/time.ts';
import { base36 } from './base36.ts';
import { type Fate, fateOf } from './fate.ts';
import { fingerprintOf } from './fingerprint.ts';
import { errorFacts, errorRewrites } from './icmp-error.ts';
import { type AssembledPacket, type NodeView, newPacket, type OpenPacket } from './open-packet.ts';
import { placeOf } from './place.ts';
import { seenRewrites } from './rewrites.ts';
import { translatedTuple, translationsOf } from './translation.ts';

/** A packet that was seen once, in a capture file. */
export function lonePacket(sighting: Sighting, id: string): OpenPacket {
  return newPacket(id, sighting, fingerprintOf(sighting));
}

/** Puts together what is emitted of a packet. */
export function assembled(event: PacketEvent, packet: OpenPacket, view: NodeView): AssembledPacket {
  const { first, last, sightings, drops } = packet;
  const offset = view.realtimeOffsetNs();
  const firstNs = first.timeNs + offset;
  const hops = drops.length === 0 ? sightings : sightings.filter(isHop);
  const hasBytes = sightings.some(({ data }) => data.length > 0);
  return {
    event,
    timeMs: timeMsOf(packet, view),
    firstNs,
    lastNs: last.timeNs + offset,
    firstIfindex: first.ifindex,
    lastIfindex: last.ifindex,
    nothingNew: sightings.every(({ nothingNew }) => nothingNew),
    hopIfindexes: hops.map(({ ifindex }) => ifindex),
    hopTuples: hops.map(({ tuple }) => tuple),
    captured: hasBytes ? sightings.map(capturedOf) : NOTHING,
    hopCaptured: hasBytes ? hops.map(capturedOf) : NOTHING,
  };
}

const NOTHING: readonly Captured[] = [];

function capturedOf({ data, headerBytes }: Sighting): Captured {
  return { bytes: data, headerBytes };
}

function isHop({ hook }: Sighting): boolean {
  return hook !== 'drop';
}

/** When a packet was first seen, Unix milliseconds. */
function timeMsOf({ first }: OpenPacket, view: NodeView): number {
  return Number((first.timeNs + view.realtimeOffsetNs()) / 1_000_000n);
}

export function packetEvent(packet: OpenPacket, view: NodeView): PacketEvent {
  const { first, conntrack } = packet;
  const hasPorts = first.proto === 6 || first.proto === 17 || first.proto === 132;
  const proto = protocolName(first.proto);
  const isError = first.icmp !== undefined && isIcmpError(first.ipVersion, first.icmp.type);
  const nat = isError
    ? errorRewrites(packet)
    : seenRewrites(conntrack === undefined ? [] : translationsOf(conntrack, hasPorts), packet, hasPorts);
  const event: PacketEvent = {
    v: 1,
    kind: 'packet',
    id: packet.id,
    time: formatUnixNs(first.timeNs + view.realtimeOffsetNs()),
    nodes: [view.node],
    proto,
    len: first.len,
    dir: directionOf(packet),
    src: endpoint(first.tuple.src, first.tuple.sport, hasPorts),
    dst: endpoint(first.tuple.dst, first.tuple.dport, hasPorts),
    hops: hopsOf(packet, view),
    verdict: 'unknown',
    fingerprint: base36(packet.fingerprint),
  };
  if (first.gsoSegs > 1) event.segments = first.gsoSegs;
  if (first.fragment !== undefined) event.fragment = { id: first.ipId, ...first.fragment };
  if (first.tcp !== undefined) event.tcp = { ...first.tcp, flags: tcpFlagLetters(first.tcp.flags) };
  if (first.icmp !== undefined) event.icmp = { ...icmpFacts(packet), ...(isError ? errorFacts(packet, view) : {}) };
  const vlan = packet.sightings.find((sighting) => sighting.vlan !== undefined && sighting.tunnel === undefined)?.vlan;
  if (vlan !== undefined) event.vlan = vlan;
  if (nat.length > 0) event.nat = nat;
  const fate = fateOf(packet, view);
  event.verdict = verdictOf(packet, fate, translatedTuple(event).dst, view);
  if (fate.drop?.drop !== undefined) {
    const { netns, ifindex, drop } = fate.drop;
    event.drop = { reason: dropReasonName(view.dropReasons, drop.reason), at: view.symbol(drop.location) };
    if (netns === first.netns && ifindex !== 0) Object.assign(event.drop, placeOf(ifindex, first, view));
  }
  return event;
}

function endpoint(ip: string, port: number, hasPorts: boolean): Endpoint {
  return hasPorts ? { ip, port } : { ip };
}

function directionOf({ first, conntrack }: OpenPacket): 'request' | 'reply' {
  if (conntrack !== undefined) return conntrack.isReply ? 'reply' : 'request';
  if (first.tcp !== undefined) return (first.tcp.flags & 0x12) === 0x12 ? 'reply' : 'request';
  if (first.icmp !== undefined) return first.icmp.type === (first.ipVersion === 6 ? 129 : 0) ? 'reply' : 'request';
  return 'request';
}

function icmpFacts({ first, conntrack }: OpenPacket): NonNullable<PacketEvent['icmp']> {
  const icmp = first.icmp as NonNullable<Sighting['icmp']>;
  const facts: NonNullable<PacketEvent['icmp']> = {
    type: icmp.type,
    code: icmp.code,
    name: icmpName(first.ipVersion, icmp.type, icmp.code),
  };
  const isEcho = first.ipVersion === 6 ? icmp.type === 128 || icmp.type === 129 : icmp.type === 8 || icmp.type === 0;
  if (isEcho) {
    // Masquerade changes an echo's id (nf_nat_l4proto_unique_tuple): the entry has the requester's.
    facts.id = conntrack?.original.sport ?? icmp.id;
    facts.seq = icmp.seq;
  }
  if (icmp.mtu !== 0) facts.mtu = icmp.mtu;
  return facts;
}

function hopsOf(packet: OpenPacket, view: NodeView): Hop[] {
  const timeMs = timeMsOf(packet, view);
  const { first, sightings, drops } = packet;
  return (drops.length === 0 ? sightings : sightings.filter(isHop)).map((sighting) => hopOf(sighting, first, timeMs, view));
}

function hopOf({ ifindex, hook, timeNs, tunnel }: Sighting, first: Sighting, timeMs: number, view: NodeView): Hop {
  const { node } = view;
  const name = view.interfaceName(ifindex);
  const pod = view.podBehind(ifindex, timeMs);
  const dir = hook === 'tc-in' ? 'in' : 'out';
  const atNs = Number(timeNs - first.timeNs);
  const hop: Hop = pod === undefined ? { node, if: name, dir, atNs } : { node, if: name, pod, dir, atNs };
  if (tunnel !== undefined) {
    const { kind, vni, src, dst } = tunnel;
    hop.tunnel = kind === 'ipip' ? { kind, src, dst } : { kind, vni, src, dst };
  }
  return hop;
}

/** @param finalDst the destination after all translations */
function verdictOf(packet: OpenPacket, fate: Fate, finalDst: string, view: NodeView): Verdict {
  const { last } = packet;
  if (fate.drop !== undefined) return 'dropped';
  if (fate.isDelivered) return 'delivered';
  if (packet.stack.some(({ hook }) => hook === 'echo-answered')) return 'answered';
  if (packet.stack.some(({ hook }) => hook === 'icmp-received')) return 'delivered';
  const kind = view.interfaceKind(last.ifindex);
  if (last.hook === 'tc-out') return kind === 'pod' ? 'delivered' : kind === 'bridge' ? 'unknown' : 'forwarded';
  return view.isOwnAddress(finalDst) ? 'delivered' : 'unknown';
}

import type { Captured } from '../event/captured.ts';
import { dropReasonName, icmpName, isIcmpError, protocolName, tcpFlagLetters } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';
import type { Endpoint, Hop, PacketEvent, Verdict } from '../event/types.ts';
import { formatUnixNs } from '../util/time.ts';
import { type Fate, fateOf } from './fate.ts';
import { fingerprintOf } from './fingerprint.ts';
import { errorFacts, errorRewrites } from './icmp-error.ts';
import type { AssembledPacket, NodeView, OpenPacket } from './open-packet.ts';
import { placeOf } from './place.ts';
import { seenRewrites } from './rewrites.ts';
import { translatedTuple, translationsOf } from './translation.ts';

/** A packet that was seen once, in a capture file. */
export function lonePacket(sighting: Sighting, id: string): OpenPacket {
  return {
    id,
    skbs: [],
    contentKeys: [],
    fingerprint: fingerprintOf(sighting),
    first: sighting,
    last: sighting,
    sightings: [sighting],
    stack: [],
    madeBy: undefined,
    conntrack: undefined,
    drops: [],
    touchedMs: 0,
    isTold: false,
    isProvisional: false,
  };
}

/** Puts together what is emitted of a packet. */
export function assembled(event: PacketEvent, packet: OpenPacket, view: NodeView): AssembledPacket {
  const offset = view.realtimeOffsetNs();
  const firstNs = packet.first.timeNs + offset;
  const hops = packet.sightings.filter(({ hook }) => hook !== 'drop');
  return {
    event,
    timeMs: Number(firstNs / 1_000_000n),
    firstNs,
    lastNs: packet.last.timeNs + offset,
    firstIfindex: packet.first.ifindex,
    lastIfindex: packet.last.ifindex,
    nothingNew: packet.sightings.every(({ nothingNew }) => nothingNew),
    hopIfindexes: hops.map(({ ifindex }) => ifindex),
    hopTuples: hops.map(({ tuple }) => tuple),
    captured: packet.sightings.map(capturedOf),
    hopCaptured: hops.map(capturedOf),
  };
}

function capturedOf({ data, headerBytes }: Sighting): Captured {
  return { bytes: data, headerBytes };
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
    fingerprint: packet.fingerprint.toString(36),
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
  return packet.sightings
    .filter(({ hook }) => hook !== 'drop')
    .map((sighting) => {
      const hop: Hop = {
        node: view.node,
        ...placeOf(sighting.ifindex, packet.first, view),
        dir: sighting.hook === 'tc-in' ? 'in' : 'out',
        atNs: Number(sighting.timeNs - packet.first.timeNs),
      };
      if (sighting.tunnel !== undefined) {
        const { kind, vni, src, dst } = sighting.tunnel;
        hop.tunnel = kind === 'ipip' ? { kind, src, dst } : { kind, vni, src, dst };
      }
      return hop;
    });
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

import type { Endpoint, FlowEvent, Hop, PacketEvent, PodRef, QuotedFlow, Translation } from '../event/types.ts';
import { isHostAddress } from './index/addresses.ts';
import type { Names, PodBehind, ServicePort } from './index/types.ts';
import { servicePortName, walkedChains } from './walked-chains.ts';

/**
 * Fills in, in place, whom a packet's ends belonged to at a time (Unix milliseconds): `src`, `dst`, the ends of translations
 * and of the flow an ICMP error quotes; and names each translation's Service and kube-proxy chains.
 * The references it sets are shared between events: an event is not changed after this.
 * @param podOfHop the pod that a hop's interface leads to. It decides before the names of addresses do, of the pod's own addresses: what the pod
 * forwards (a VPN, a gateway, containers inside of it) is not the pod's
 */
export function enrichPacket(
  packet: PacketEvent,
  names: Names,
  timeMs: number,
  podOfHop?: (hop: Hop) => PodBehind | undefined,
): void {
  const { proto, nat } = packet;
  fill(packet.src, proto, names, timeMs);
  fill(packet.dst, proto, names, timeMs);
  const isReply = packet.dir === 'reply';
  const last = nat ? lastTo(nat, isReply) : undefined;
  if (podOfHop) applySender(packet, podOfHop);
  if (nat) enrichNat(packet, nat, isReply, packet.nodes[0], names, timeMs);
  if (podOfHop) applyReceiver(packet, last ?? packet.dst, podOfHop);
  if (packet.verdict === 'dropped') nameNodePort(packet, names, timeMs);
  if (packet.icmp?.about) enrichQuoted(packet.icmp.about, packet.nodes[0], names, timeMs);
}

/**
 * The same for a flow, whose ends are the initiator's and the responder's.
 * @param known pods that the interface has decided
 */
export function enrichFlow(flow: FlowEvent, names: Names, timeMs: number, known?: { src?: PodRef; dst?: PodRef }): void {
  fill(flow.src, flow.proto, names, timeMs);
  fill(flow.dst, flow.proto, names, timeMs);
  if (flow.nat) enrichNat(flow, flow.nat, false, flow.node, names, timeMs);
  if (known?.src) setPod(flow.src, known.src);
  if (known?.dst) setPod((flow.nat && lastTo(flow.nat, false)) ?? flow.dst, known.dst);
}

function enrichQuoted(about: QuotedFlow, node: string | undefined, names: Names, timeMs: number): void {
  fill(about.src, about.proto, names, timeMs);
  fill(about.dst, about.proto, names, timeMs);
  if (about.nat) enrichNat(about, about.nat, about.dir === 'reply', node, names, timeMs);
}

function enrichNat(
  event: { src: Endpoint; dst: Endpoint; proto: string },
  nat: Translation[],
  isReply: boolean,
  node: string | undefined,
  names: Names,
  timeMs: number,
): void {
  const initiator = isReply ? (lastTo(nat, true) ?? event.dst) : event.src;
  for (const one of nat) {
    const { before } = one;
    // What was translated is nearly always the packet's own end, which has been looked up already.
    if (before.ip === event.dst.ip && before.port === event.dst.port) copyOwner(event.dst, before);
    else if (before.ip === event.src.ip && before.port === event.src.port) copyOwner(event.src, before);
    else fill(before, event.proto, names, timeMs);
    fill(one.after, event.proto, names, timeMs);
  }
  for (const one of nat) {
    if (one.kind !== 'dnat') continue;
    const address = isReply ? one.after : one.before;
    const endpoint = isReply ? one.before : one.after;
    const port = servicePortOf(address, event.proto, names, timeMs);
    if (!port) continue;
    one.service = servicePortName(port);
    const isInside = initiator.pod !== undefined || (initiator.node !== undefined && initiator.node === node);
    const chains = walkedChains(port, endpoint.ip, endpoint.port ?? 0, isInside, names.proxyMode);
    if (chains) one.chains = chains;
    if (initiator.ip === endpoint.ip && names.proxyMode === 'iptables') nameHairpin(nat);
  }
}

/** A packet that died before its translation has nothing but the node port to tell the Service by. */
function nameNodePort({ dst, nat, proto }: PacketEvent, names: Names, timeMs: number): void {
  if (dst.node === undefined || nat?.some(({ kind }) => kind === 'dnat')) return;
  const port = servicePortOf(dst, proto, names, timeMs);
  if (!port) return;
  clear(dst);
  dst.service = port.service;
}

const HAIRPIN = ['KUBE-POSTROUTING'];

/**
 * A pod that reaches itself through a Service is masqueraded by kube-proxy and nobody else. Any other masquerade may be
 * the pod network's just as well, so it names no chain.
 */
function nameHairpin(nat: Translation[]): void {
  for (const one of nat) if (one.kind === 'snat') one.chains = HAIRPIN;
}

/** The end that a packet is sent to in the end: after the last translation of its destination. */
function lastTo(nat: Translation[], isReply: boolean): Endpoint | undefined {
  const kind = isReply ? 'snat' : 'dnat';
  for (let i = nat.length - 1; i >= 0; i -= 1) if (nat[i]?.kind === kind) return nat[i]?.after;
  return undefined;
}

/** A source that no router forwards (link-local, unspecified) is the pod's behind the interface, though the interface does not have it. */
function applySender({ hops, src }: PacketEvent, podOfHop: (hop: Hop) => PodBehind | undefined): void {
  const first = hops[0];
  const sender = first?.dir === 'in' ? podOfHop(first) : undefined;
  if (sender && (sender.ips.includes(src.ip) || !isHostAddress(src.ip))) setPod(src, sender.pod);
}

/** A bridge may flood a packet to several pods: it is the one's that has the address. */
function applyReceiver({ hops }: PacketEvent, to: Endpoint, podOfHop: (hop: Hop) => PodBehind | undefined): void {
  const last = hops[hops.length - 1];
  const receiver = last?.dir === 'out' ? podOfHop(last) : undefined;
  if (receiver?.ips.includes(to.ip)) setPod(to, receiver.pod);
}

function setPod(end: Endpoint, pod: PodRef): void {
  if (end.pod === pod) return;
  if (!end.pod) clear(end);
  end.pod = pod;
}

function copyOwner(from: Endpoint, to: Endpoint): void {
  if (to.pod !== from.pod || to.service !== from.service || to.node !== from.node || to.world !== from.world) clear(to);
  if (from.pod) to.pod = from.pod;
  else if (from.service) to.service = from.service;
  else if (from.node !== undefined) to.node = from.node;
  else if (from.world) to.world = true;
}

function fill(end: Endpoint, proto: string, names: Names, timeMs: number): void {
  const owner = names.ownerOf(end.ip, timeMs);
  if (!owner) {
    const isWorld = isHostAddress(end.ip) && !names.isClusterAddress?.(end.ip);
    if (isWorld && end.world) return;
    clear(end);
    if (isWorld) end.world = true;
  } else if (owner.kind === 'pod') {
    setPod(end, owner.pod);
  } else if (owner.kind === 'node') {
    if (end.node === owner.node) return;
    clear(end);
    end.node = owner.node;
  } else {
    const service = servicePortOf(end, proto, names, timeMs)?.service ?? owner.service;
    if (end.service === service) return;
    clear(end);
    end.service = service;
  }
}

/** Takes away what an earlier telling said. Most ends are new, and `delete` is slow even where there is nothing. */
function clear(end: Endpoint): void {
  if (end.pod) delete end.pod;
  if (end.service) delete end.service;
  if (end.node !== undefined) delete end.node;
  if (end.world) delete end.world;
}

function servicePortOf(end: Endpoint, proto: string, names: Names, timeMs: number): ServicePort | undefined {
  return end.port === undefined ? undefined : names.servicePort(end.ip, end.port, proto, timeMs);
}

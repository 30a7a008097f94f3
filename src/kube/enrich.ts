import type { Endpoint, FlowEvent, Hop, PacketEvent, PodRef, QuotedFlow, ServiceRef, Translation } from '../event/types.ts';
import { isOneHost } from './addresses.ts';
import type { Names, Owner, ServicePort } from './types.ts';
import { walkedChains } from './walked-chains.ts';

/**
 * Fills in, in place, whom a packet's ends belonged to at a time (Unix milliseconds): `src`, `dst`, the ends of translations
 * and of the flow an ICMP error quotes; and names each translation's Service and kube-proxy chains.
 * The references it sets are shared between events: an event is not changed after this.
 * @param podOfHop the pod that a hop's interface leads to; decides before the address does
 */
export function enrichPacket(
  packet: PacketEvent,
  names: Names,
  timeMs: number,
  podOfHop?: (hop: Hop) => PodRef | undefined,
): void {
  const { proto, nat } = packet;
  fill(packet.src, proto, names, timeMs);
  fill(packet.dst, proto, names, timeMs);
  const isReply = packet.dir === 'reply';
  const last = nat ? lastTo(nat, isReply) : undefined;
  if (nat) enrichNat(packet, nat, isReply, packet.nodes[0], names, timeMs);
  if (podOfHop) applyInterfaces(packet, last ?? packet.dst, podOfHop);
  if (packet.icmp?.about) enrichQuoted(packet.icmp.about, names, timeMs);
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

function enrichQuoted(about: QuotedFlow, names: Names, timeMs: number): void {
  fill(about.src, about.proto, names, timeMs);
  fill(about.dst, about.proto, names, timeMs);
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
    fill(one.before, event.proto, names, timeMs);
    fill(one.after, event.proto, names, timeMs);
  }
  for (const one of nat) {
    if (one.kind !== 'dnat') continue;
    const address = isReply ? one.after : one.before;
    const endpoint = isReply ? one.before : one.after;
    const port = servicePortOf(address, event.proto, names, timeMs);
    if (!port) continue;
    one.service = nameOf(port);
    const isInside = initiator.pod !== undefined || (initiator.node !== undefined && initiator.node === node);
    const chains = walkedChains(port, endpoint.ip, endpoint.port ?? 0, isInside, names.proxyMode ?? 'iptables');
    if (chains) one.chains = chains;
    if (initiator.ip === endpoint.ip && (names.proxyMode ?? 'iptables') === 'iptables') nameHairpin(nat);
  }
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

/**
 * A pod's own interface says which pod sent a packet (the first hop) and which one got it (the last). A packet that a bridge
 * floods to several pods is nobody's by interface; its address decides.
 */
function applyInterfaces(packet: PacketEvent, to: Endpoint, podOfHop: (hop: Hop) => PodRef | undefined): void {
  const { hops } = packet;
  const first = hops[0];
  if (first?.dir === 'in') {
    const sender = podOfHop(first);
    if (sender) setPod(packet.src, sender);
  }
  const last = hops[hops.length - 1];
  const receiver = last?.dir === 'out' ? podOfHop(last) : undefined;
  if (!receiver || !isOneHost(to.ip)) return;
  for (let i = hops.length - 2; i >= 0; i -= 1) {
    const hop = hops[i];
    if (hop?.dir !== 'out') continue;
    const other = podOfHop(hop);
    if (other && other.uid !== receiver.uid) return;
  }
  setPod(to, receiver);
}

function setPod(end: Endpoint, pod: PodRef): void {
  if (end.pod === pod) return;
  if (end.service || end.node !== undefined || end.world) clear(end);
  end.pod = pod;
}

function fill(end: Endpoint, proto: string, names: Names, timeMs: number): void {
  if (end.pod || end.service || end.node !== undefined || end.world) clear(end);
  const owner = names.ownerOf(end.ip, timeMs);
  if (owner) setOwner(end, owner, proto, names, timeMs);
  else if (isOneHost(end.ip) && !names.isClusterAddress?.(end.ip)) end.world = true;
}

function setOwner(end: Endpoint, owner: Owner, proto: string, names: Names, timeMs: number): void {
  if (owner.kind === 'pod') end.pod = owner.pod;
  else if (owner.kind === 'node') end.node = owner.node;
  else end.service = servicePortOf(end, proto, names, timeMs)?.service ?? owner.service;
}

function clear(end: Endpoint): void {
  delete end.pod;
  delete end.service;
  delete end.node;
  delete end.world;
}

function servicePortOf(end: Endpoint, proto: string, names: Names, timeMs: number): ServicePort | undefined {
  return end.port === undefined ? undefined : names.servicePort(end.ip, end.port, proto, timeMs);
}

const serviceNames = new WeakMap<ServiceRef, string>();

/** `namespace/name` or `namespace/name:port`. */
function nameOf(port: ServicePort): string {
  const { service } = port;
  let name = serviceNames.get(service);
  if (name === undefined) {
    name = `${service.namespace}/${service.name}${service.port === '' ? '' : `:${service.port}`}`;
    serviceNames.set(service, name);
  }
  return name;
}

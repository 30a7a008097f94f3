import type { ConntrackSeen, Tuple } from '../event/sighting.ts';
import type { Endpoint, Translation } from '../event/types.ts';

/** `enum ip_conntrack_status` (include/uapi/linux/netfilter/nf_conntrack_common.h). */
const CONFIRMED = 1 << 3;
const SRC_NAT_DONE = 1 << 7;

/**
 * What NAT does to a packet of this conntrack entry, in order. A request's destination is rewritten before routing, its source after it; of a reply the
 * destination is restored first. Until masquerade has chosen a source, only the destination's translation is known.
 */
export function translationsOf(conntrack: ConntrackSeen, hasPorts: boolean): Translation[] {
  const { original, reply, isReply } = conntrack;
  const serviceSide = end(original.dst, original.dport, hasPorts);
  const endpointSide = end(reply.src, reply.sport, hasPorts);
  const ownSide = end(original.src, original.sport, hasPorts);
  const masqueradedSide = end(reply.dst, reply.dport, hasPorts);
  const isFinal = (conntrack.status & (CONFIRMED | SRC_NAT_DONE)) !== 0;
  const dnat = differs(serviceSide, endpointSide);
  const snat = isFinal && differs(ownSide, masqueradedSide);
  const translations: Translation[] = [];
  if (isReply) {
    if (snat) translations.push({ kind: 'snat', before: masqueradedSide, after: ownSide, seenBy: 'conntrack' });
    if (dnat) translations.push({ kind: 'dnat', before: endpointSide, after: serviceSide, seenBy: 'conntrack' });
  } else {
    if (dnat) translations.push({ kind: 'dnat', before: serviceSide, after: endpointSide, seenBy: 'conntrack' });
    if (snat) translations.push({ kind: 'snat', before: ownSide, after: masqueradedSide, seenBy: 'conntrack' });
  }
  return translations;
}

/** Which of two sightings of conntrack is used: one read from the packet's own entry before a remembered one, a final one before one that may change. */
export function conntrackRank(conntrack: ConntrackSeen): number {
  const isFinal = (conntrack.status & (CONFIRMED | SRC_NAT_DONE)) !== 0;
  return (conntrack.remembered ? 0 : 2) + (isFinal ? 1 : 0);
}

/** A packet's tuple after all its translations. */
export function translatedTuple(packet: { src: Endpoint; dst: Endpoint; dir: 'request' | 'reply'; nat?: Translation[] }): Tuple {
  let { src, dst } = packet;
  for (const { kind, after } of packet.nat ?? []) {
    if ((kind === 'dnat') === (packet.dir === 'request')) dst = after;
    else src = after;
  }
  return { src: src.ip, dst: dst.ip, sport: src.port ?? 0, dport: dst.port ?? 0 };
}

function end(ip: string, port: number, hasPorts: boolean): Endpoint {
  return hasPorts ? { ip, port } : { ip };
}

function differs(a: Endpoint, b: Endpoint): boolean {
  return a.ip !== b.ip || a.port !== b.port;
}

import type { Sighting, Tuple } from '../event/sighting.ts';
import type { Endpoint, Translation } from '../event/types.ts';
import type { OpenPacket } from './open-packet.ts';

/**
 * A packet's translations. A translation of the conntrack entry is replaced by the kernel's rewrite where that was seen for this packet; rewrites that the
 * entry does not have are added. Each gets the time at which the connection entered conntrack's table, where that was seen.
 * @param told the translations of the conntrack entry, in the order in which they happen; changed in place
 */
export function seenRewrites(told: Translation[], packet: OpenPacket, hasPorts: boolean): Translation[] {
  for (const sighting of packet.stack) {
    const seen = rewriteOf(sighting, packet.first.timeNs, hasPorts);
    if (seen === undefined) continue;
    const index = told.findIndex(
      (one) => one.kind === seen.kind && isSame(one.before, seen.before) && isSame(one.after, seen.after),
    );
    if (index < 0) told.push(seen);
    else told[index] = seen;
  }
  const confirmed = packet.stack.find(({ hook }) => hook === 'confirmed');
  if (confirmed !== undefined) for (const one of told) one.confirmedAtNs = Number(confirmed.timeNs - packet.first.timeNs);
  return told;
}

/**
 * What nf_nat_manip_pkt does next (net/netfilter/nf_nat_proto.c): it sets the packet's address to that of the other direction's tuple, inverted. So the
 * rewrite of a request's destination and that of a reply's source are the same translation.
 */
function rewriteOf(sighting: Sighting, startNs: bigint, hasPorts: boolean): Translation | undefined {
  const { conntrack, rewrite, tuple } = sighting;
  if (conntrack === undefined || rewrite === undefined) return undefined;
  const other = conntrack.isReply ? conntrack.original : conntrack.reply;
  const isSource = rewrite.end === 'source';
  const before = isSource ? source(tuple, hasPorts) : destination(tuple, hasPorts);
  const after = isSource ? destination(other, hasPorts) : source(other, hasPorts);
  if (isSame(before, after)) return undefined;
  const kind = isSource === conntrack.isReply ? 'dnat' : 'snat';
  const hook = rewrite.hook === undefined ? {} : { hook: rewrite.hook };
  return { kind, before, after, seenBy: 'kprobe', ...hook, atNs: Number(sighting.timeNs - startNs) };
}

function source({ src, sport }: Tuple, hasPorts: boolean): Endpoint {
  return hasPorts ? { ip: src, port: sport } : { ip: src };
}

function destination({ dst, dport }: Tuple, hasPorts: boolean): Endpoint {
  return hasPorts ? { ip: dst, port: dport } : { ip: dst };
}

function isSame(a: Endpoint, b: Endpoint): boolean {
  return a.ip === b.ip && a.port === b.port;
}

import { protocolName } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';
import type { IcmpFacts, IcmpOrigin, QuotedFlow, Translation } from '../event/types.ts';
import type { NodeView, OpenPacket } from './open-packet.ts';
import { placeOf } from './place.ts';
import { translationsOf } from './translation.ts';

/** What an ICMP error is about, and who made it. */
export function errorFacts(packet: OpenPacket, view: NodeView): Pick<IcmpFacts, 'about' | 'by'> {
  const about = aboutOf(packet);
  const by = originOf(packet, view);
  return { ...(about === undefined ? {} : { about }), ...(by === undefined ? {} : { by }) };
}

/**
 * What NAT did to the error's own addresses, by its first and last hop: the conntrack entry is that of the flow that the error is about, so its ports are
 * not the error's. An error in the reply's direction is translated like a reply.
 */
export function errorRewrites(packet: OpenPacket): Translation[] {
  const { first, last, conntrack, stack } = packet;
  if (conntrack === undefined) return [];
  const seenBy = stack.some(({ hook }) => hook === 'nat') ? 'kprobe' : 'conntrack';
  const rewrite = (kind: Translation['kind'], before: string, after: string): Translation[] =>
    before === after ? [] : [{ kind, before: { ip: before }, after: { ip: after }, seenBy }];
  const source = rewrite(conntrack.isReply ? 'dnat' : 'snat', first.tuple.src, last.tuple.src);
  const destination = rewrite(conntrack.isReply ? 'snat' : 'dnat', first.tuple.dst, last.tuple.dst);
  return [...destination, ...source];
}

/**
 * The quoted packet before and after translation. The kernel gives an error the entry of the quoted packet's flow, with the opposite direction
 * (nf_conntrack_inet_error, net/netfilter/nf_conntrack_proto_icmp.c).
 */
function aboutOf({ first, conntrack, stack }: OpenPacket): QuotedFlow | undefined {
  const { quoted } = first;
  if (quoted === undefined) return undefined;
  const hasPorts = quoted.proto === 6 || quoted.proto === 17 || quoted.proto === 132;
  const proto = protocolName(quoted.proto);
  const end = (ip: string, port: number) => (hasPorts ? { ip, port } : { ip });
  const echo = quoted.seq === undefined ? {} : { id: conntrack?.original.sport ?? quoted.tuple.sport, seq: quoted.seq };
  const asQuoted: QuotedFlow = {
    proto,
    src: end(quoted.tuple.src, quoted.tuple.sport),
    dst: end(quoted.tuple.dst, quoted.tuple.dport),
    ...echo,
  };
  if (conntrack === undefined) return asQuoted;
  const isReply = !conntrack.isReply;
  const dir = isReply ? 'reply' : 'request';
  const nat = translationsOf({ ...conntrack, isReply }, hasPorts);
  if (nat.length === 0) return { ...asQuoted, dir };
  const seenBy = stack.some(({ hook }) => hook === 'nat') ? 'kprobe' : 'conntrack';
  for (const one of nat) one.seenBy = seenBy;
  const { src, sport, dst, dport } = isReply ? conntrack.reply : conntrack.original;
  return { proto, src: end(src, sport), dst: end(dst, dport), ...echo, dir, nat };
}

/** By the kernel function that made the error, where it was seen; else by the error's source address and first hop. */
function originOf({ first, madeBy }: OpenPacket, view: NodeView): IcmpOrigin | undefined {
  const { node } = view;
  if (madeBy !== undefined) {
    // Inside a pod interfaces have other numbers: there the pod's interface on the node is taken.
    const ifindex = first.hook === 'tc-in' ? first.ifindex : madeBy.ifindex;
    return { node, ...(ifindex === 0 ? {} : placeOf(ifindex, first, view)), seenBy: 'kprobe' };
  }
  const isFromPod = first.hook === 'tc-in' && view.interfaceKind(first.ifindex) === 'pod';
  if (isFromPod) return { node, ...placeOf(first.ifindex, first, view), seenBy: 'address' };
  if (first.hook === 'tc-in') return undefined;
  const own = view.interfaceOfAddress(first.tuple.src);
  // NAT may have given it the Service's address. It came in by no interface, so this node made it.
  return own === undefined ? { node, seenBy: 'way' } : { node, ...placeOf(own, first, view), seenBy: 'address' };
}

/** An error is seen at an interface within this time after it was made. */
const WITHIN_NS = 100_000_000n;

/** Sightings held at most, and of those about the packets of one sender: one whose packets are all refused must not push out what others are told. */
const MOST = 256;
const MOST_OF_SENDER = 32;

/**
 * Sightings of the kernel making an error, until the error is seen at an interface. The kernel is seen before it decides whether its rate limits let the
 * error out, so many are never seen. Bounded; the oldest is forgotten first.
 */
export class ErrorsMade {
  readonly #recent: Sighting[] = [];

  /** Gives how many were forgotten: too old for their error to come, or to make room. */
  note(sighting: Sighting): number {
    this.#recent.push(sighting);
    let forgotten = 0;
    for (let oldest = this.#recent[0]; oldest !== undefined; oldest = this.#recent[0]) {
      if (this.#recent.length <= MOST && sighting.timeNs - oldest.timeNs <= WITHIN_NS) break;
      this.#recent.shift();
      forgotten += 1;
    }
    const isOfSender = ({ tuple }: Sighting): boolean => tuple.src === sighting.tuple.src;
    if (this.#recent.filter(isOfSender).length <= MOST_OF_SENDER) return forgotten;
    this.#recent.splice(this.#recent.findIndex(isOfSender), 1);
    return forgotten + 1;
  }

  /** Takes out the sighting of this error's making; undefined: it was not made here. */
  take(error: Sighting): Sighting | undefined {
    if (error.quoted === undefined || this.#recent.length === 0) return undefined;
    const index = this.#recent.findLastIndex((made) => isMakingOf(made, error));
    return index < 0 ? undefined : this.#recent.splice(index, 1)[0];
  }
}

/** The error quotes the refused packet. NAT may have changed the quote meanwhile, so any address of the flow is accepted. */
function isMakingOf({ sent, timeNs, proto, ipId, tuple }: Sighting, error: Sighting): boolean {
  const { icmp, quoted, conntrack } = error;
  if (sent === undefined || icmp === undefined || quoted === undefined) return false;
  if (sent.type !== icmp.type || sent.code !== icmp.code || proto !== quoted.proto) return false;
  // The record of an error has the hash of the quoted packet's IP id, see parse_quoted in bpf/packet/parse.h.
  if (Math.imul(ipId, 0x9e3779b1) >>> 0 !== error.payloadHash) return false;
  const sinceNs = error.timeNs - timeNs;
  if (sinceNs < 0n || sinceNs > WITHIN_NS) return false;
  const tuples = [quoted.tuple, ...(conntrack === undefined ? [] : [conntrack.original, conntrack.reply])];
  const isOf = (ip: string) => tuples.some(({ src, dst }) => src === ip || dst === ip);
  return isOf(tuple.src) && isOf(tuple.dst);
}

import type { Endpoint, PacketEvent, Translation } from '../../event/types.ts';

/** Packets that took the same way: the same interfaces between the same peers, translated alike, with the same end. */
export interface Way {
  /** An ICMP error goes a way of its own, against that of what it is about. */
  dir: 'request' | 'reply' | 'error';
  /** The first of them. */
  packet: PacketEvent;
  count: number;
  first: string;
  last: string;
}

/** Drop, error or no answer. */
export function isBadWay({ dir, packet }: Way): boolean {
  return dir === 'error' || packet.drop !== undefined || packet.unanswered !== undefined;
}

/** Tells different ways apart, so many of them; a third of the room is kept for those that end badly. */
export class Ways {
  readonly #most: number;
  readonly #held = new Map<string, Way>();

  constructor(most: number) {
    this.#most = most;
  }

  /** Counts a packet to its way; undefined: there was no room for one more. */
  add(packet: PacketEvent): Way | undefined {
    const key = wayKey(packet);
    const known = this.#held.get(key);
    if (known !== undefined) {
      known.count += 1;
      if (packet.time < known.first) known.first = packet.time;
      if (packet.time > known.last) known.last = packet.time;
      return known;
    }
    const dir = packet.icmp?.about === undefined ? packet.dir : 'error';
    const way: Way = { dir, packet, count: 1, first: packet.time, last: packet.time };
    if (this.#held.size >= (isBadWay(way) ? this.#most : (this.#most * 2) / 3)) return undefined;
    this.#held.set(key, way);
    return way;
  }

  /** Takes one packet back. */
  remove(way: Way | undefined): void {
    if (way === undefined) return;
    way.count -= 1;
    if (way.count === 0) this.#held.delete(wayKey(way.packet));
  }
}

/** Initiators take a new port each time: it is no part of the way. */
function wayKey(packet: PacketEvent): string {
  const { proto, src, dst, dir, hops, nat = [], drop, unanswered, verdict, icmp } = packet;
  const [own, peer] = dir === 'request' ? [undefined, dst.port] : [src.port, undefined];
  return JSON.stringify([
    ...[proto, dir, whose(src), own, whose(dst), peer, verdict],
    hops.map((hop) => [hop.node, hop.if, hop.dir, hop.tunnel?.kind, hop.tunnel?.src, hop.tunnel?.dst]),
    nat.map(translationOf),
    drop === undefined ? undefined : [drop.reason, drop.at, drop.if],
    unanswered !== undefined,
    icmp === undefined ? undefined : [icmp.name, icmp.mtu, icmp.by?.node, icmp.by?.if],
    icmp?.about === undefined ? undefined : [icmp.about.proto, whose(icmp.about.src), whose(icmp.about.dst)],
  ]);
}

function translationOf({ kind, before, after, service, atNs }: Translation): unknown[] {
  return [kind, whose(before), whose(after), service, atNs === undefined];
}

/** Whom an end belongs to, else its address. */
export function whose({ ip, pod, service, node }: Endpoint): string {
  if (pod !== undefined) return `pod ${pod.namespace}/${pod.name} ${pod.uid}${pod.gone === undefined ? '' : ' gone'}`;
  if (service !== undefined) return `svc ${service.namespace}/${service.name}`;
  return node === undefined ? ip : `node ${node}`;
}

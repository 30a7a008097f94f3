import { dropReasonName } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';
import type { NodeView, OpenPacket } from './open-packet.ts';

/** What became of a packet, by its drops. */
export interface Fate {
  /** The drop that decided; undefined: it was not dropped. */
  drop: Sighting | undefined;
  /** A bridge flooded it, and at least one copy was not dropped. */
  isDelivered: boolean;
}

/** A copy of a flooded packet: handed to a pod, or to the node itself by the bridge. */
interface Copy {
  seen: Sighting;
  /** The network namespace that it was handed to; undefined: not known. */
  netns: number | undefined;
}

/**
 * A bridge floods neighbour discovery, multicast and frames to addresses that it has not learned: every port gets a copy, and a receiver that has no use for
 * it drops it. So the packet counts as dropped only when every copy was.
 */
export function fateOf(packet: OpenPacket, view: NodeView): Fate {
  const { drops } = packet;
  if (drops.length === 0) return { drop: undefined, isDelivered: copiesOf(packet, view).length > 1 };
  const copies = copiesOf(packet, view);
  const nodeNetns = packet.sightings.find(({ hook }) => hook !== 'drop')?.netns;
  const isDelivered = copies.length > 1 && !copies.every((copy) => drops.some((drop) => isOf(copy, drop, nodeNetns)));
  return { drop: isDelivered ? undefined : decisive(drops, nodeNetns, view), isDelivered };
}

function copiesOf({ sightings, first }: OpenPacket, view: NodeView): Copy[] {
  const isForAll = isMulticast(first.tuple.dst);
  const copies: Copy[] = [];
  for (const seen of sightings) {
    const { hook, ifindex } = seen;
    if (hook === 'drop' || (hook === 'tc-in' && !isForAll)) continue;
    const kind = view.interfaceKind(ifindex);
    if (hook === 'tc-out' && kind === 'pod') copies.push({ seen, netns: view.netnsOf(ifindex) });
    else if (hook === 'tc-in' && kind === 'bridge') copies.push({ seen, netns: seen.netns });
  }
  return copies;
}

function isOf({ seen, netns }: Copy, drop: Sighting, nodeNetns: number | undefined): boolean {
  if (drop.timeNs < seen.timeNs) return false;
  if (drop.skb === seen.skb) return true;
  // In the node's own namespace a drop is of this copy only when it is at this very interface; else it is another copy's.
  if (drop.netns === nodeNetns) return drop.ifindex === seen.ifindex;
  return netns === undefined || drop.netns === netns;
}

/** A drop with a reason decides before one without; one on the node before one inside a pod; then the earliest. */
function decisive(drops: readonly Sighting[], nodeNetns: number | undefined, view: NodeView): Sighting | undefined {
  const isNamed = ({ drop }: Sighting) => dropReasonName(view.dropReasons, drop?.reason ?? 0) !== 'NOT_SPECIFIED';
  const rank = (seen: Sighting) => (isNamed(seen) ? 2 : 0) + (seen.netns === nodeNetns ? 1 : 0);
  const [best] = [...drops].sort((a, b) => rank(b) - rank(a) || Number(a.timeNs - b.timeNs));
  return best;
}

function isMulticast(ip: string): boolean {
  if (ip.includes(':')) return /^ff/i.test(ip);
  const first = Number.parseInt(ip, 10);
  return (first >= 224 && first < 240) || ip === '255.255.255.255';
}

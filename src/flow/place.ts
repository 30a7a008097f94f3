import type { Sighting } from '../event/sighting.ts';
import type { NodeView } from './open-packet.ts';

/** An interface by name, with the pod that it led to when the packet was first seen. */
export function placeOf(ifindex: number, first: Sighting, view: NodeView): { if: string; pod?: string } {
  const pod = view.podBehind(ifindex, Number((first.timeNs + view.realtimeOffsetNs()) / 1_000_000n));
  return { if: view.interfaceName(ifindex), ...(pod === undefined ? {} : { pod }) };
}

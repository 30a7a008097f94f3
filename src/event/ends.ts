import type { Endpoint, FlowEvent, PacketEvent } from './types.ts';

/** All ends that a record names: its own, before and after translation, and those of a packet that an ICMP error quotes. */
export function endsOf(event: PacketEvent | FlowEvent): Endpoint[] {
  const ends = [event.src, event.dst];
  for (const { before, after } of event.nat ?? []) ends.push(before, after);
  const about = event.kind === 'packet' ? event.icmp?.about : undefined;
  if (about !== undefined) {
    ends.push(about.src, about.dst);
    for (const { before, after } of about.nat ?? []) ends.push(before, after);
  }
  return ends;
}

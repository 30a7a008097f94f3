import { UNKNOWN_SYMBOL } from '../../event/names.ts';
import type { KtraceEvent } from '../../event/types.ts';

/** A record as it may be sent: older agents recorded a drop's place as its address (`0x…`) where the kernel hid the name. */
export function withoutAddress(event: KtraceEvent): KtraceEvent {
  if (event.kind !== 'packet' || event.drop === undefined || !event.drop.at.startsWith('0x')) return event;
  return { ...event, drop: { ...event.drop, at: UNKNOWN_SYMBOL } };
}

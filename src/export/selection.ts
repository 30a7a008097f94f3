import type { KtraceEvent } from '../event/types.ts';
import type { Exported } from './fields.ts';

/** What can be exported. Every packet would be too much for a log: of packets only drops are. */
export const EXPORT_EVENTS = ['flow-open', 'flow-update', 'flow-close', 'drop', 'lost', 'notice'] as const;
export type ExportEvent = (typeof EXPORT_EVENTS)[number];

/** Short flows are told once, when they have ended; long ones go on to be told while they last. */
export const DEFAULT_EXPORT_EVENTS: readonly ExportEvent[] = ['flow-update', 'flow-close', 'drop', 'lost', 'notice'];

/** Whether an event is one of those to export. */
export function isSelected(event: KtraceEvent, events: ReadonlySet<ExportEvent>): event is Exported & KtraceEvent {
  switch (event.kind) {
    case 'packet':
      return event.drop !== undefined && events.has('drop');
    case 'flow':
      return events.has(`flow-${event.state}`);
    default:
      return events.has(event.kind);
  }
}

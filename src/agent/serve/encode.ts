import type { KtraceEvent } from '../../event/types.ts';

/**
 * JSON of events, made once for all sessions. The feed hands an event to one session after the other before it comes to
 * the next, so remembering the last one is enough; a table of all would cost as much as it saves.
 */
export function createEncoder(): (event: KtraceEvent) => string {
  let last: KtraceEvent | undefined;
  let json = '';
  return (event) => {
    if (event !== last) {
      json = JSON.stringify(event);
      last = event;
    }
    return json;
  };
}

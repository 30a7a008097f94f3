import type { KtraceEvent } from '../event/types.ts';

/**
 * JSON of events, made once for all sessions that get the same object. An event is not changed after it was told (see
 * `Sink`), so that its JSON may be kept for as long as the object lives.
 */
export function createEncoder(isShared: () => boolean): (event: KtraceEvent) => string {
  const known = new WeakMap<KtraceEvent, string>();
  return (event) => {
    // With a single session, remembering costs more than it saves.
    if (!isShared()) return JSON.stringify(event);
    let json = known.get(event);
    if (json === undefined) {
      json = JSON.stringify(event);
      known.set(event, json);
    }
    return json;
  };
}

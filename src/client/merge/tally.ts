import type { KtraceEvent } from '../../event/types.ts';

/** Ids remembered at most: of packets that may be told again as dropped, and of conversations that go on. */
const MAX_IDS = 65_536;

/** What a reader was shown. */
export class Tally {
  /** Of packets, without what was told again, and each of flows. */
  records = 0;
  /** Each once, however often it was told, as are flows. */
  packets = 0;
  /** Of these packets; the last telling decides. */
  dropped = 0;
  flows = 0;
  readonly #droppedIds = new Set<string>();
  readonly #flowIds = new Set<string>();

  note(event: KtraceEvent): void {
    if (event.kind === 'packet') {
      if (event.amends !== true) {
        this.records += 1;
        this.packets += 1;
      }
      if (event.drop !== undefined && add(this.#droppedIds, event.id)) this.dropped += 1;
    } else if (event.kind === 'flow') {
      this.records += 1;
      if (add(this.#flowIds, event.id)) this.flows += 1;
      if (event.state === 'close') this.#flowIds.delete(event.id);
    }
  }
}

/** Whether it is new; the oldest is forgotten where there are too many. */
function add(ids: Set<string>, id: string): boolean {
  if (ids.has(id)) return false;
  ids.add(id);
  if (ids.size > MAX_IDS) ids.delete(ids.values().next().value as string);
  return true;
}

import type { KtraceEvent, LostEvent, LostStage } from '../../event/types.ts';
import { Deque } from '../../util/deque.ts';

/** An event on its way to one client. */
export interface Entry {
  json: string;
  /** How many events this stands for: a `lost` event for as many as it counts, any other for itself. */
  weight: number;
  /** A `lost` event that was made here, and so never came in. */
  gap: boolean;
}

/** What became of the events that came in: `in + putBack = out + cut + folded + discarded + those that wait`. */
export interface QueueCounts {
  in: number;
  out: number;
  /** Cut because the queue was full, and counted in `lost` events of stage `client-socket`. */
  cut: number;
  /** `lost` events of earlier stages that met a full queue: their counts were added up into one. */
  folded: number;
  /** Sent before, and again in the queue because the connection broke. */
  putBack: number;
  /** Still queued when the session ended. */
  discarded: number;
}

export interface QueueOptions {
  node: string;
  maxEvents: number;
  /** Asked at every event, as it depends on how many sessions there are. */
  maxBytes(): number;
  encode(event: KtraceEvent): string;
  /** UTC in nanoseconds, for events without a time of their own. */
  now(): string;
  /** Shared by all queues. */
  counts: QueueCounts;
}

/** A gap that may still grow; its JSON is made when it is taken. */
interface Gap extends Entry {
  lost: LostEvent;
}

type Queued = Entry & Partial<Gap>;

/**
 * The bounded queue of one session. When it is full, events are cut until half of it has drained, and in their place stands one
 * `lost` event with their exact number. Cutting in long runs costs a stalled client's node next to nothing (a cut
 * event is not even encoded) and leaves the reader few large gaps instead of many small ones.
 */
export class SessionQueue {
  #items = new Deque<Queued>();
  #bytes = 0;
  /** Gaps that still grow, one for each node and stage; empty when nothing is being cut. */
  #gaps: Gap[] = [];
  #cutting = false;
  readonly #options: QueueOptions;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Entries that wait, gaps among them. */
  get length(): number {
    return this.#items.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(event: KtraceEvent): void {
    const { maxEvents, maxBytes, counts } = this.#options;
    counts.in += 1;
    const limitBytes = maxBytes();
    if (this.#cutting && this.length * 2 <= maxEvents && this.#bytes * 2 <= limitBytes) {
      this.#cutting = false;
      this.#gaps = [];
    }
    const json = this.#cutting ? '' : this.#options.encode(event);
    this.#cutting ||= this.length + 1 > maxEvents || this.#bytes + json.length > limitBytes;
    if (this.#cutting) {
      this.#cut(event);
      return;
    }
    this.#items.push({ json, weight: event.kind === 'lost' ? event.count : 1, gap: false });
    this.#bytes += json.length;
  }

  /** The next entries, in order: at most `maxEvents` (at least 1), closed when `maxBytes` is reached. */
  take(maxEvents: number, maxBytes: number): Entry[] {
    const taken: Entry[] = [];
    let bytes = 0;
    while (taken.length < maxEvents && bytes < maxBytes) {
      const item = this.#items.shift();
      if (!item) break;
      this.#bytes -= item.json.length;
      const entry = this.#settle(item);
      bytes += entry.json.length;
      taken.push(entry);
    }
    return taken;
  }

  /** Puts entries that were sent, and did not arrive, before all others. Their memory was already accounted for where they come from. */
  putBack(entries: readonly Entry[]): void {
    this.#items.prepend(entries);
    for (const entry of entries) {
      this.#bytes += entry.json.length;
      if (!entry.gap) this.#options.counts.putBack += 1;
    }
  }

  /** Ends the queue: what waits in it is counted as discarded. */
  discard(): void {
    for (const item of this.#items) if (!item.gap) this.#options.counts.discarded += 1;
    this.#items.clear();
    this.#gaps = [];
    this.#bytes = 0;
  }

  /** Counts an event into the gap at the tail. A `lost` event of an earlier stage keeps its stage: its count is added up apart. */
  #cut(event: KtraceEvent): void {
    const { node, counts } = this.#options;
    if (event.kind === 'lost') {
      counts.folded += 1;
      this.#grow(event.node, event.stage, event.count, event.from, event.to);
    } else {
      counts.cut += 1;
      const from = event.kind === 'packet' ? event.time : event.kind === 'flow' ? event.startTime : this.#options.now();
      this.#grow(node, 'client-socket', 1, from, event.kind === 'flow' ? event.endTime : from);
    }
  }

  #grow(node: string, stage: LostStage, count: number, from: string, to: string): void {
    const gap = this.#gaps.find(({ lost }) => lost.stage === stage && lost.node === node);
    if (!gap) {
      const lost: LostEvent = { v: 1, kind: 'lost', node, stage, count, from, to };
      const opened = { json: '', lost, weight: count, gap: true };
      this.#gaps.push(opened);
      this.#items.push(opened);
      return;
    }
    gap.weight += count;
    gap.lost.count += count;
    if (from < gap.lost.from) gap.lost.from = from;
    if (to > gap.lost.to) gap.lost.to = to;
  }

  #settle(item: Queued): Entry {
    if (!item.gap) this.#options.counts.out += 1;
    if (!item.lost) return item;
    this.#gaps = this.#gaps.filter((gap) => gap !== item);
    return { json: JSON.stringify(item.lost), weight: item.weight, gap: true };
  }
}

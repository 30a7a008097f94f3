import { Deque } from '../../util/deque.ts';
import type { Entry } from './session-queue.ts';

/** Past this many unacknowledged batches even their numbers are forgotten: a client that never acknowledges cannot resume. */
const MAX_BATCHES = 16_384;

interface Batch {
  seq: number;
  weight: number;
  bytes: number;
  /** Undefined once forgotten. */
  entries: Entry[] | undefined;
}

/**
 * What was sent and not acknowledged, kept for a client that comes back. When the bound is reached the oldest batches'
 * events are forgotten, and only how many they were is remembered.
 */
export class SentBatches {
  #batches = new Deque<Batch>();
  /** Batches that still have their events, oldest first. */
  #kept = new Deque<Batch>();
  #bytes = 0;
  /** The newest batch that is neither here nor to be had: acknowledged, or too old. */
  #floor = 0;
  readonly #maxBytes: () => number;

  constructor(maxBytes: () => number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(seq: number, entries: Entry[]): void {
    const bytes = entries.reduce((sum, entry) => sum + entry.json.length, 0);
    const batch: Batch = { seq, weight: entries.reduce((sum, entry) => sum + entry.weight, 0), bytes, entries };
    this.#batches.push(batch);
    this.#kept.push(batch);
    this.#bytes += bytes;
    while (this.#bytes > this.#maxBytes() && this.#kept.length > 0) this.#forgetOldest();
    while (this.#batches.length > MAX_BATCHES) this.#dropOldest();
  }

  /** The client has everything up to `seq`. */
  acknowledge(seq: number): void {
    while ((this.#batches.peek()?.seq ?? Number.POSITIVE_INFINITY) <= seq) this.#dropOldest();
    this.#floor = Math.max(this.#floor, seq);
  }

  /**
   * Hands out, and no longer keeps, the events after batch `seq`, in order; `missed` counts those that were forgotten.
   * Undefined when what came after `seq` is not kept any more.
   */
  takeAfter(seq: number): { entries: Entry[]; missed: number } | undefined {
    if (seq < this.#floor) return undefined;
    this.acknowledge(seq);
    const entries: Entry[] = [];
    let missed = 0;
    for (const batch of this.#batches) {
      if (batch.entries) entries.push(...batch.entries);
      else missed += batch.weight;
    }
    this.#batches.clear();
    this.#kept.clear();
    this.#bytes = 0;
    return { entries, missed };
  }

  #forgetOldest(): void {
    const batch = this.#kept.shift();
    if (!batch) return;
    batch.entries = undefined;
    this.#bytes -= batch.bytes;
  }

  #dropOldest(): void {
    const batch = this.#batches.shift();
    if (!batch) return;
    // `kept` holds the same batches in the same order, so the oldest batch that has its events is at its head.
    if (batch.entries) this.#forgetOldest();
    this.#floor = Math.max(this.#floor, batch.seq);
  }
}

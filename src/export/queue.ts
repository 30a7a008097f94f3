import { Deque } from '../util/deque.ts';

/** A log record that waits, as JSON. */
export interface Waiting {
  json: string;
  /** Monotonic, ms. */
  sinceMs: number;
}

export interface QueueLimits {
  queueRecords: number;
  /** Characters of JSON; all of them are ASCII but for what a notice may say. */
  queueBytes: number;
  batchRecords: number;
  batchBytes: number;
}

/** The log records on their way to the collector: bounded in number and in bytes. */
export class ExportQueue {
  readonly #records = new Deque<Waiting>();
  readonly #limits: QueueLimits;
  #bytes = 0;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#records.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Since when the oldest waits; undefined: none does. */
  get sinceMs(): number | undefined {
    return this.#records.peek()?.sinceMs;
  }

  /** Whether another record would be too many. Asked before it is encoded: what is cut shall cost next to nothing. */
  get isFull(): boolean {
    return this.length >= this.#limits.queueRecords || this.#bytes >= this.#limits.queueBytes;
  }

  /** Whether a batch can be filled. */
  get hasBatch(): boolean {
    return this.length >= this.#limits.batchRecords || this.#bytes >= this.#limits.batchBytes;
  }

  push(json: string, nowMs: number): void {
    this.#records.push({ json, sinceMs: nowMs });
    this.#bytes += json.length;
  }

  /** The oldest records, as many as make a batch. */
  take(): Waiting[] {
    const { batchRecords, batchBytes } = this.#limits;
    const batch: Waiting[] = [];
    for (let bytes = 0; batch.length < batchRecords && bytes < batchBytes; ) {
      const record = this.#shift();
      if (record === undefined) break;
      bytes += record.json.length;
      batch.push(record);
    }
    return batch;
  }

  /** Removes what has waited since before `sinceMs`; how many that were. */
  dropOlderThan(sinceMs: number): number {
    let dropped = 0;
    for (let oldest = this.#records.peek(); oldest !== undefined && oldest.sinceMs < sinceMs; oldest = this.#records.peek()) {
      this.#shift();
      dropped += 1;
    }
    return dropped;
  }

  #shift(): Waiting | undefined {
    const record = this.#records.shift();
    if (record !== undefined) this.#bytes -= record.json.length;
    return record;
  }
}

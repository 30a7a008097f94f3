import { formatUnixNs } from '../util/time.ts';
import { logRecordJson } from './log-record.ts';

/** Tells the collector itself how many records it did not get: one log record with the next batch that it takes. */
export class LossReport {
  readonly #node: string;
  readonly #nowNs: () => bigint;
  #count = 0;
  #fromNs = 0n;
  #toNs = 0n;

  constructor(node: string, nowNs: () => bigint) {
    this.#node = node;
    this.#nowNs = nowNs;
  }

  /** Records have been lost. */
  add(count: number): void {
    this.#toNs = this.#nowNs();
    if (this.#count === 0) this.#fromNs = this.#toNs;
    this.#count += count;
  }

  /** The record of what is lost and not told yet; undefined: nothing is. */
  take(nextUid: () => string): { json: string; count: number } | undefined {
    if (this.#count === 0) return undefined;
    const [from, to] = [formatUnixNs(this.#fromNs), formatUnixNs(this.#toNs)];
    const lost = { v: 1, kind: 'lost', node: this.#node, stage: 'export', count: this.#count, from, to } as const;
    return { json: logRecordJson(lost, nextUid(), this.#nowNs()), count: this.#count };
  }

  /** The collector has a record of so many. */
  told(count: number): void {
    this.#count -= count;
    this.#fromNs = this.#toNs;
  }
}

/** Of what is held longer than the least, half is given up in this time without a late record. */
const HALVED_MS = 30_000;

/**
 * How long records are held for earlier ones of other nodes: the least time, and more while some come later than that. A network that delays one node's
 * records costs its reader the delay, and not the order.
 */
export class HoldTime {
  readonly #leastMs: number;
  readonly #mostMs: number;
  #moreMs = 0;
  #sinceMs = 0;
  #newestToldNs = Number.NEGATIVE_INFINITY;

  constructor(leastMs: number, mostMs: number) {
    this.#leastMs = leastMs;
    this.#mostMs = mostMs;
  }

  at(nowMs: number): number {
    return this.#leastMs + this.#moreAt(nowMs);
  }

  told(sortNs: number): void {
    if (sortNs > this.#newestToldNs) this.#newestToldNs = sortNs;
  }

  /** A record has come. One that is earlier than what was told is late; one that is earlier by more than anything is held is no matter of order. */
  came(sortNs: number, nowMs: number): void {
    const lateMs = (this.#newestToldNs - sortNs) / 1e6;
    if (lateMs <= 0 || lateMs > this.#mostMs) return;
    this.#moreMs = Math.min(this.#mostMs - this.#leastMs, this.#moreAt(nowMs) + lateMs);
    this.#sinceMs = nowMs;
  }

  #moreAt(nowMs: number): number {
    return this.#moreMs === 0 ? 0 : this.#moreMs * 0.5 ** ((nowMs - this.#sinceMs) / HALVED_MS);
  }
}

/** Of what is held longer than the least, half is given up in this time without a late record. */
const HALVED_MS = 30_000;
/** The next one may be a little later. */
const MARGIN = 1.25;

interface Told {
  sortNs: number;
  /** How long it was held for others. */
  heldMs: number;
}

/**
 * How long records are held for earlier ones of other nodes: the least time, and more while some come later than that. A network that delays one node's
 * records costs its reader the delay, and not the order.
 */
export class HoldTime {
  readonly #leastMs: number;
  readonly #mostMs: number;
  #moreMs = 0;
  #sinceMs = 0;
  /** What is latest by its time of what was told lately. */
  #newest: (Told & { atMs: number }) | undefined;

  constructor(leastMs: number, mostMs: number) {
    this.#leastMs = leastMs;
    this.#mostMs = mostMs;
  }

  at(nowMs: number): number {
    return this.#leastMs + this.#moreAt(nowMs);
  }

  told({ sortNs, heldMs }: Told, nowMs: number): void {
    // What was told longer ago could not have been held until now: a record of a clock that is far ahead is the newest for so long.
    const isNewest = this.#newest === undefined || sortNs >= this.#newest.sortNs || nowMs - this.#newest.atMs > this.#mostMs;
    if (isNewest) this.#newest = { sortNs, heldMs, atMs: nowMs };
  }

  /**
   * A record has come. One that is earlier than what was told is late: that should have been held by as much longer. One that is earlier by more than
   * anything is held is no matter of order.
   */
  came(sortNs: number, nowMs: number): void {
    if (this.#newest === undefined) return;
    const lateMs = (this.#newest.sortNs - sortNs) / 1e6;
    if (lateMs <= 0 || lateMs > this.#mostMs) return;
    const wantedMs = Math.min(this.#mostMs, this.#newest.heldMs + lateMs * MARGIN) - this.#leastMs;
    if (wantedMs <= this.#moreAt(nowMs)) return;
    this.#moreMs = wantedMs;
    this.#sinceMs = nowMs;
  }

  #moreAt(nowMs: number): number {
    return this.#moreMs === 0 ? 0 : this.#moreMs * 0.5 ** ((nowMs - this.#sinceMs) / HALVED_MS);
  }
}

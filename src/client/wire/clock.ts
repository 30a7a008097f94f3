/** How far a node's clock is ahead of ours, and by how much that may be wrong; both in milliseconds. */
export interface ClockEstimate {
  offsetMs: number;
  uncertaintyMs: number;
}

/** Two ordinary clocks part by less than this, in parts of a second per second. */
export const DRIFT = 100e-6;

/**
 * Estimates one node's clock from messages that carry it. A message read `nodeMs` when sent and arrived at `receivedMs`, so the offset
 * is at least their difference; if it answers something sent at `sentMs`, the offset is at most `nodeMs - sentMs`. Keeps the tightest
 * bounds (the message that travelled fastest decides), widens them by the drift, and starts anew when the clock was stepped.
 */
export class NodeClock {
  #low = Number.NEGATIVE_INFINITY;
  #high = Number.POSITIVE_INFINITY;
  #atMs = 0;

  /** An answer: bounds from both sides. */
  answered(sentMs: number, nodeMs: number, receivedMs: number): void {
    this.#narrow(nodeMs - receivedMs, nodeMs - sentMs, receivedMs);
  }

  /** A message of its own accord: bounds from below only. */
  arrived(nodeMs: number, receivedMs: number): void {
    if (this.#high === Number.POSITIVE_INFINITY) return;
    const low = nodeMs - receivedMs;
    // A clock stepped ahead has no upper bound of its own: its travel time is taken to be what it was.
    this.#narrow(low, low > this.#high ? low + (this.#high - this.#low) : Number.POSITIVE_INFINITY, receivedMs);
  }

  /** Undefined before the first answer. */
  estimate(): ClockEstimate | undefined {
    if (this.#high === Number.POSITIVE_INFINITY) return undefined;
    return { offsetMs: (this.#low + this.#high) / 2, uncertaintyMs: (this.#high - this.#low) / 2 };
  }

  #narrow(low: number, high: number, nowMs: number): void {
    const drift = Math.max(0, nowMs - this.#atMs) * DRIFT;
    const tighterLow = Math.max(low, this.#low - drift);
    const tighterHigh = Math.min(high, this.#high + drift);
    const isStepped = tighterLow > tighterHigh;
    this.#low = isStepped ? low : tighterLow;
    this.#high = isStepped ? high : tighterHigh;
    this.#atMs = nowMs;
  }
}

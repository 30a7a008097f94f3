/** How far a node's clock is ahead of ours, and by how much that may be wrong; both in milliseconds. */
export interface ClockEstimate {
  offsetMs: number;
  uncertaintyMs: number;
}

/** Two ordinary clocks part by less than this, in parts of a second per second. */
const DRIFT = 100e-6;

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

/**
 * One timeline for all nodes: their clocks' median, since ours may be wrong by minutes. What to take from a node's time to come onto it;
 * nothing, while the node is not known to differ by more than the uncertainty: so times stay what the nodes told, wherever clocks are kept.
 */
export function corrections(clocks: Map<string, ClockEstimate>): Map<string, ClockEstimate> {
  const sorted = [...clocks.values()].sort((a, b) => a.offsetMs - b.offsetMs);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  const result = new Map<string, ClockEstimate>();
  if (median === undefined) return result;
  for (const [node, clock] of clocks) {
    const apart = clock.offsetMs - median.offsetMs;
    const uncertaintyMs = clock === median ? 0 : clock.uncertaintyMs + median.uncertaintyMs;
    const isApart = Math.abs(apart) > Math.max(uncertaintyMs, 2);
    result.set(node, { offsetMs: isApart ? apart : 0, uncertaintyMs });
  }
  return result;
}

import { type ClockEstimate, DRIFT } from '../wire/clock.ts';

interface Gap {
  gapMs: number;
  atMs: number;
}

/**
 * What packets say of two nodes' clocks: none arrives before it left, so by the nodes' own clocks the arrival is later than the leaving by
 * at least what the clocks are apart. Packets both ways give bounds from both sides, as near as the wire is short.
 */
export class WireClocks {
  /** Least time from one node's last hop to the next node's first, each by its own clock: from → to → gap. */
  readonly #least = new Map<string, Map<string, Gap>>();

  /** A packet left one node and came to another. */
  crossed(from: string, to: string, gapMs: number, nowMs: number): void {
    const gaps = this.#least.get(from) ?? new Map<string, Gap>();
    this.#least.set(from, gaps);
    const known = gaps.get(to);
    if (known === undefined || gapMs < grown(known, nowMs)) gaps.set(to, { gapMs, atMs: nowMs });
  }

  /** The node is another one now, or has another clock. */
  forget(node: string): void {
    this.#least.delete(node);
    for (const gaps of this.#least.values()) gaps.delete(node);
  }

  /**
   * How far each node's clock is ahead of `base`'s: what messages said (`clocks`), narrowed by what packets said, also by way of third
   * nodes. Where the two contradict each other a clock was stepped: then packets are believed from then on only.
   */
  aheadOf(base: string, clocks: ReadonlyMap<string, ClockEstimate>, nowMs: number): Map<string, ClockEstimate> {
    const nodes = [base, ...[...clocks.keys()].filter((node) => node !== base)];
    const most = nodes.map((from) => nodes.map((to) => Math.min(told(clocks, from, to), this.#crossing(from, to, nowMs))));
    const isSound = close(most);
    if (!isSound) this.#least.clear();
    const result = new Map<string, ClockEstimate>();
    for (const [index, node] of nodes.entries()) {
      const high = isSound ? (most[0]?.[index] ?? 0) : told(clocks, base, node);
      const low = isSound ? -(most[index]?.[0] ?? 0) : -told(clocks, node, base);
      result.set(node, { offsetMs: (low + high) / 2, uncertaintyMs: (high - low) / 2 });
    }
    return result;
  }

  #crossing(from: string, to: string, nowMs: number): number {
    const gap = this.#least.get(from)?.get(to);
    return gap === undefined ? Number.POSITIVE_INFINITY : grown(gap, nowMs);
  }
}

/**
 * One timeline for all nodes: their clocks' median, since ours may be wrong by minutes. What to take from a node's time to come onto it;
 * nothing, while the node is not known to differ by more than the uncertainty: so times stay what the nodes told, wherever clocks are kept.
 */
export function corrections(
  clocks: ReadonlyMap<string, ClockEstimate>,
  wires: WireClocks,
  nowMs: number,
): Map<string, ClockEstimate> {
  const sorted = [...clocks].sort(([, a], [, b]) => a.offsetMs - b.offsetMs);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  const result = new Map<string, ClockEstimate>();
  if (median === undefined) return result;
  for (const [node, { offsetMs, uncertaintyMs }] of wires.aheadOf(median[0], clocks, nowMs)) {
    const isApart = Math.abs(offsetMs) > uncertaintyMs;
    result.set(node, { offsetMs: isApart ? offsetMs : 0, uncertaintyMs });
  }
  return result;
}

/** The clocks may have parted since. */
function grown({ gapMs, atMs }: Gap, nowMs: number): number {
  return gapMs + Math.max(0, nowMs - atMs) * DRIFT;
}

/** By how much `to` is ahead of `from` at most. */
function told(clocks: ReadonlyMap<string, ClockEstimate>, from: string, to: string): number {
  const [one, other] = [clocks.get(from), clocks.get(to)];
  if (from === to || one === undefined || other === undefined) return from === to ? 0 : Number.POSITIVE_INFINITY;
  return other.offsetMs + other.uncertaintyMs - (one.offsetMs - one.uncertaintyMs);
}

/** Draws every conclusion from bounds on differences (shortest paths, in place); false when they contradict each other. */
function close(most: number[][]): boolean {
  for (const [through, onward] of most.entries()) {
    for (const row of most) {
      const first = row[through] ?? Number.POSITIVE_INFINITY;
      for (const [to, rest] of onward.entries()) row[to] = Math.min(row[to] ?? Number.POSITIVE_INFINITY, first + rest);
    }
  }
  return most.every((row, index) => (row[index] ?? 0) >= 0);
}

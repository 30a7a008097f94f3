/** The pauses between tries double up to the most; so many interfaces are tried at once, because the loop stands still while one is attached. */
const FIRST_PAUSE_MS = 2_000;
const MOST_PAUSE_MS = 60_000;
const MOST_AT_ONCE = 8;
/** Interfaces named in one notice, at most. */
const MOST_NAMED = 5;

interface Failed {
  name: string;
  reason: string;
  pauseMs: number;
  dueMs: number;
}

/** The interfaces that should be attached and could not be, and when each is tried again. Monotonic milliseconds. */
export class FailedAttaches {
  readonly #failed = new Map<number, Failed>();

  add(ifindex: number, name: string, reason: string, nowMs: number): void {
    const before = this.#failed.get(ifindex);
    const pauseMs = before === undefined ? FIRST_PAUSE_MS : Math.min(2 * before.pauseMs, MOST_PAUSE_MS);
    this.#failed.set(ifindex, { name, reason, pauseMs, dueMs: nowMs + pauseMs });
  }

  /** It is attached, has gone, or need not be attached any more. */
  delete(ifindex: number): void {
    this.#failed.delete(ifindex);
  }

  due(nowMs: number): number[] {
    return [...this.#failed].flatMap(([ifindex, { dueMs }]) => (dueMs <= nowMs ? [ifindex] : [])).slice(0, MOST_AT_ONCE);
  }

  /** `veth1, veth2 and 3 more: reason`, by reason; undefined when there is none. */
  text(): string | undefined {
    const byReason = new Map<string, string[]>();
    for (const { name, reason } of this.#failed.values()) byReason.set(reason, [...(byReason.get(reason) ?? []), name]);
    if (byReason.size === 0) return undefined;
    return [...byReason].map(([reason, names]) => `${namesText(names.sort())}: ${reason}`).join('; ');
  }
}

function namesText(names: readonly string[]): string {
  const more = names.length - MOST_NAMED;
  return more > 0 ? `${names.slice(0, MOST_NAMED).join(', ')} and ${more} more` : names.join(', ');
}

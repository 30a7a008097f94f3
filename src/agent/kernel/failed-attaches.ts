import { interfacesText, type NamedInterface } from './interface-names.ts';

/** The pauses between tries double up to the most; so many interfaces are tried at once, because the loop stands still while one is attached. */
const FIRST_PAUSE_MS = 2_000;
const MOST_PAUSE_MS = 60_000;
const MOST_AT_ONCE = 8;

interface Failed extends NamedInterface {
  reason: string;
  pauseMs: number;
  dueMs: number;
}

/** The interfaces that should be attached and could not be, and when each is tried again. Monotonic milliseconds. */
export class FailedAttaches {
  readonly #failed = new Map<number, Failed>();

  add(ifindex: number, { name, isOfPod }: NamedInterface, reason: string, nowMs: number): void {
    const before = this.#failed.get(ifindex);
    const pauseMs = before === undefined ? FIRST_PAUSE_MS : Math.min(2 * before.pauseMs, MOST_PAUSE_MS);
    this.#failed.set(ifindex, { name, isOfPod, reason: reasonOf(reason, ifindex), pauseMs, dueMs: nowMs + pauseMs });
  }

  /** It is attached, has gone, or need not be attached any more. */
  delete(ifindex: number): void {
    this.#failed.delete(ifindex);
  }

  due(nowMs: number): number[] {
    return [...this.#failed].flatMap(([ifindex, { dueMs }]) => (dueMs <= nowMs ? [ifindex] : [])).slice(0, MOST_AT_ONCE);
  }

  list(): readonly NamedInterface[] {
    return [...this.#failed.values()];
  }

  /** `eth0 and 3 pods' interfaces: reason`, by reason; undefined when there is none. */
  text(): string | undefined {
    if (this.#failed.size === 0) return undefined;
    const byReason = Map.groupBy(this.#failed.values(), ({ reason }) => reason);
    return [...byReason].map(([reason, failed]) => `${interfacesText(failed)}: ${reason}`).join('; ');
  }
}

/** What is the same for all interfaces that fail alike: the kernel's words have the number of this one. */
function reasonOf(text: string, ifindex: number): string {
  return text.replace(` to interface ${ifindex} `, ' ');
}

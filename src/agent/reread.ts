import type { Guard } from './guard.ts';

/** Calls `work` once after so many milliseconds; gives what takes it back. */
export type Schedule = (work: () => void, delayMs: number) => () => void;

export const schedule: Schedule = (work, delayMs) => {
  const timer = setTimeout(work, delayMs).unref();
  return () => clearTimeout(timer);
};

/** Changes come in bursts (kube-proxy in IPVS mode adds an address for each Service at its start): all within this time cost one read. */
const COALESCE_MS = 50;
/** A dump that changes interrupt ends with EAGAIN, and does again while they go on: the pauses double up to this. */
const MOST_PAUSE_MS = 5_000;

export interface RereadOptions {
  /** What is read, for the log and the metrics. */
  place: string;
  /** May throw: it is called again later. */
  read(): void;
  guard: Guard;
  schedule: Schedule;
}

/** Reads something of the kernel again when it has changed, once for a burst of changes; a read that fails is tried again. */
export class Reread {
  readonly #options: RereadOptions;
  #pauseMs = COALESCE_MS;
  #cancel: (() => void) | undefined;
  #isClosed = false;

  constructor(options: RereadOptions) {
    this.#options = options;
  }

  /** At once. */
  now(): void {
    const { place, read, guard } = this.#options;
    this.#cancel?.();
    this.#cancel = undefined;
    if (guard.run(place, read)) {
      this.#pauseMs = COALESCE_MS;
      return;
    }
    const pauseMs = this.#pauseMs;
    this.#pauseMs = Math.min(2 * pauseMs, MOST_PAUSE_MS);
    this.#after(pauseMs);
  }

  /** Within a moment, with all else that changes until then. */
  soon(): void {
    this.#after(COALESCE_MS);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #after(delayMs: number): void {
    if (this.#isClosed || this.#cancel !== undefined) return;
    this.#cancel = this.#options.schedule(() => this.now(), delayMs);
  }
}

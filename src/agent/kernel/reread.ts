import type { Guard } from '../../util/guard.ts';

/** Calls `work` once after so many milliseconds; gives what takes it back. */
export type Schedule = (work: () => void, delayMs: number) => () => void;

export const schedule: Schedule = (work, delayMs) => {
  const timer = setTimeout(work, delayMs).unref();
  return () => clearTimeout(timer);
};

/** Changes come in bursts (kube-proxy in IPVS mode adds an address for each Service at its start): all within this time cost one read. */
const COALESCE_MS = 50;
/**
 * A dump that changes interrupt ends with EAGAIN, and does again while they go on: the pauses double up to this. Until then it is what a burst
 * of changes looks like; from then on what is known is so old that somebody must be told.
 */
const MOST_PAUSE_MS = 5_000;

export interface RereadOptions {
  /** What is read, for the log and the metrics. */
  place: string;
  /** May throw: it is called again later. */
  read(): void;
  guard: Guard;
  schedule: Schedule;
}

/**
 * Reads something of the kernel again when it has changed, once for a burst of changes; a read that fails is tried again. One that changes
 * interrupt is no fault, unless they go on for long.
 */
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
    const pauseMs = this.#pauseMs;
    let isRead = true;
    const readOrWait = (): void => {
      try {
        read();
      } catch (error) {
        if (!isInterrupted(error) || pauseMs >= MOST_PAUSE_MS) throw error;
        isRead = false;
      }
    };
    if (guard.run(place, readOrWait) && isRead) {
      this.#pauseMs = COALESCE_MS;
      return;
    }
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

function isInterrupted(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN';
}

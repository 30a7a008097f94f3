import type { Logger } from './log.ts';

/** A place that fails at every packet is logged so often. */
const LOG_INTERVAL_MS = 10_000;

/**
 * Runs what the kernel and timers call. An exception there would end the process, and with it every follow and the recording: it costs its own
 * step instead, is counted by place, and is logged with its stack.
 */
export class Guard {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #failures = new Map<string, number>();
  readonly #loggedMs = new Map<string, number>();
  #recent = new Map<string, unknown>();

  /** @param nowMs monotonic */
  constructor(log: Logger, nowMs: () => number = () => performance.now()) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** By place, since the start. */
  get failures(): ReadonlyMap<string, number> {
    return this.#failures;
  }

  /** True when `work` came to its end. */
  run(place: string, work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      this.#failed(place, error);
      return false;
    }
  }

  /** `work` as a callback that never throws. */
  wrap<A extends unknown[]>(place: string, work: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      try {
        work(...args);
      } catch (error) {
        this.#failed(place, error);
      }
    };
  }

  /** What has failed since the last time, with the first error of each place. */
  take(): ReadonlyMap<string, unknown> {
    const recent = this.#recent;
    if (recent.size > 0) this.#recent = new Map();
    return recent;
  }

  #failed(place: string, error: unknown): void {
    const failures = (this.#failures.get(place) ?? 0) + 1;
    this.#failures.set(place, failures);
    if (!this.#recent.has(place)) this.#recent.set(place, error);
    const nowMs = this.#nowMs();
    if (nowMs - (this.#loggedMs.get(place) ?? Number.NEGATIVE_INFINITY) < LOG_INTERVAL_MS) return;
    this.#loggedMs.set(place, nowMs);
    this.#log.error({ place, failures, err: error }, 'a step of the agent failed; the agent goes on');
  }
}

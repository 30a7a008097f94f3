/** What a log takes. */
export interface ComplaintLog {
  warn(fields: object, text: string): void;
  info(fields: object, text: string): void;
}

/** Says that exporting does not work, at most once in a while however often it fails, and once that it works again. */
export class Complaints {
  readonly #log: ComplaintLog;
  readonly #everyMs: number;
  /** What has happened so far, for the line. */
  readonly #state: () => object;
  #saidAtMs = Number.NEGATIVE_INFINITY;
  #isTroubled = false;

  constructor(log: ComplaintLog, everyMs: number, state: () => object) {
    this.#log = log;
    this.#everyMs = everyMs;
    this.#state = state;
  }

  /** @param nowMs monotonic */
  trouble(message: string, nowMs: number): void {
    if (nowMs - this.#saidAtMs < this.#everyMs) return;
    this.#saidAtMs = nowMs;
    this.#isTroubled = true;
    this.#log.warn({ err: message, ...this.#state() }, 'log records do not all reach the collector');
  }

  fine(): void {
    if (!this.#isTroubled) return;
    this.#isTroubled = false;
    this.#log.info(this.#state(), 'log records reach the collector');
  }
}

/** Lets so much through each second, and after a pause at once what was left over, up to a bound. */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #most: number;
  readonly #nowMs: () => number;
  #left: number;
  #atMs: number;

  /** @param nowMs milliseconds of a clock that is never stepped */
  constructor(perSecond: number, most: number, nowMs: () => number) {
    this.#perSecond = perSecond;
    this.#most = most;
    this.#nowMs = nowMs;
    this.#left = most;
    this.#atMs = nowMs();
  }

  /** Whether one more goes through now. */
  take(): boolean {
    this.#fill();
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** Until one more goes through. */
  waitMs(): number {
    this.#fill();
    return Math.max(0, ((1 - this.#left) * 1000) / this.#perSecond);
  }

  #fill(): void {
    const nowMs = this.#nowMs();
    this.#left = Math.min(this.#most, this.#left + ((nowMs - this.#atMs) * this.#perSecond) / 1000);
    this.#atMs = nowMs;
  }
}

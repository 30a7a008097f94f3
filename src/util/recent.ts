/**
 * Something that takes work to get: however often it is wanted, the work is done once in `maxAgeMs`, and once at a time; all who ask meanwhile get the same.
 * A failure is told to all who wait for it, and not kept.
 */
export class Recent<T> {
  readonly #work: () => Promise<T>;
  readonly #maxAgeMs: number;
  readonly #nowMs: () => number;
  #last: { begunMs: number; isUnderWay: boolean; result: Promise<T> } | undefined;

  /** @param nowMs milliseconds of a clock that is never stepped */
  constructor(work: () => Promise<T>, maxAgeMs: number, nowMs: () => number) {
    this.#work = work;
    this.#maxAgeMs = maxAgeMs;
    this.#nowMs = nowMs;
  }

  async get(): Promise<T> {
    const nowMs = this.#nowMs();
    const known = this.#last;
    if (known !== undefined && (known.isUnderWay || nowMs - known.begunMs < this.#maxAgeMs)) return known.result;
    const last = { begunMs: nowMs, isUnderWay: true, result: this.#work() };
    this.#last = last;
    try {
      return await last.result;
    } catch (error) {
      this.#last = undefined;
      throw error;
    } finally {
      last.isUnderWay = false;
    }
  }
}

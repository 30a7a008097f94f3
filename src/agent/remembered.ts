/** Answers that are asked for again and again, kept for a while and in bounded number. A question under way is asked once. */
export class Remembered<V> {
  readonly #answers = new Map<string, { untilMs: number; answer: Promise<V> }>();
  readonly #most: number;
  readonly #now: () => number;

  constructor(most: number, now: () => number) {
    this.#most = most;
    this.#now = now;
  }

  get size(): number {
    return this.#answers.size;
  }

  /**
   * The answer that is remembered, else a new one. A failure is not remembered.
   * @param keepMs how long an answer is good for, counted from the question
   */
  get(key: string, ask: () => Promise<V>, keepMs: (answer: V) => number): Promise<V> {
    const nowMs = this.#now();
    const known = this.#answers.get(key);
    if (known !== undefined && nowMs < known.untilMs) return known.answer;
    this.#answers.delete(key);
    const entry = { untilMs: Number.POSITIVE_INFINITY, answer: ask() };
    this.#answers.set(key, entry);
    entry.answer.then(
      (answer) => {
        entry.untilMs = nowMs + keepMs(answer);
      },
      () => {
        if (this.#answers.get(key) === entry) this.#answers.delete(key);
      },
    );
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > this.#most && oldest !== undefined) this.#answers.delete(oldest);
    return entry.answer;
  }
}

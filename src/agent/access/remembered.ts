interface Entry<V> {
  untilMs: number;
  answer: Promise<V>;
}

/** Answers that are asked for again and again, kept for a while and in bounded number. A question under way is asked once. */
export class Remembered<V> {
  readonly #answers = new Map<string, Entry<V>>();
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
    const known = this.known(key);
    if (known !== undefined) return known;
    const nowMs = this.#now();
    const entry = this.#set(key, { untilMs: Number.POSITIVE_INFINITY, answer: ask() });
    entry.answer.then(
      (answer) => {
        entry.untilMs = nowMs + keepMs(answer);
      },
      () => {
        if (this.#answers.get(key) === entry) this.#answers.delete(key);
      },
    );
    return entry.answer;
  }

  /** The answer, where one is remembered that is good still. */
  known(key: string): Promise<V> | undefined {
    const known = this.#answers.get(key);
    return known !== undefined && this.#now() < known.untilMs ? known.answer : undefined;
  }

  /** Whether there is an answer, good still or not. */
  has(key: string): boolean {
    return this.#answers.has(key);
  }

  /** The answer, good still or not. */
  last(key: string): Promise<V> | undefined {
    return this.#answers.get(key)?.answer;
  }

  put(key: string, answer: V, untilMs: number): void {
    this.#set(key, { untilMs, answer: Promise.resolve(answer) });
  }

  delete(key: string): void {
    this.#answers.delete(key);
  }

  #set(key: string, entry: Entry<V>): Entry<V> {
    this.#answers.delete(key);
    this.#answers.set(key, entry);
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > this.#most && oldest !== undefined) this.#answers.delete(oldest);
    return entry;
  }
}

import { Remembered } from './remembered.ts';

/** Answers that let somebody in, and all others, remembered apart: questions that lead to nothing push out no answer that is in use. */
export class Answers<V> {
  readonly #good: Remembered<V>;
  readonly #others: Remembered<V>;
  readonly #isGood: (answer: V) => boolean;
  readonly #nowMs: () => number;

  /** @param most of either kind */
  constructor(most: number, isGood: (answer: V) => boolean, nowMs: () => number) {
    this.#good = new Remembered<V>(most, nowMs);
    this.#others = new Remembered<V>(most, nowMs);
    this.#isGood = isGood;
    this.#nowMs = nowMs;
  }

  /**
   * The answer that is remembered, else a new one. A failure is not remembered.
   * @param ask is told whether the last answer was a good one
   * @param keepMs how long an answer is good for, counted from the question
   */
  get(key: string, ask: (wasGood: boolean) => Promise<V>, keepMs: (answer: V) => number): Promise<V> {
    const known = this.#good.known(key);
    if (known !== undefined) return known;
    const askedMs = this.#nowMs();
    const asked = async (): Promise<V> => {
      const answer = await ask(this.#good.has(key));
      if (this.#isGood(answer)) this.#good.put(key, answer, askedMs + keepMs(answer));
      else this.#good.delete(key);
      return answer;
    };
    return this.#others.get(key, asked, (answer) => (this.#isGood(answer) ? 0 : keepMs(answer)));
  }

  /** The last answer, however old, where it was a good one. */
  lastGood(key: string): Promise<V> | undefined {
    return this.#good.last(key);
  }
}

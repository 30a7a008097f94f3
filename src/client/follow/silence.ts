/** A time without anything shown is told when it is so long, and at each further such time. */
const SILENCE_MS = 10_000;

/** Knows when nothing has been shown for a while: because nothing came, or because the reader takes no more. Milliseconds of any steady clock. */
export class Silence {
  readonly #nowMs: () => number;
  readonly #say: (text: string) => void;
  /** Why nothing is shown although the reader would take it. */
  readonly #reason: (seconds: number) => string;
  #sinceMs: number;
  #told = 0;
  #isReaderFull = false;

  constructor(options: { nowMs(): number; say(text: string): void; reason(seconds: number): string }) {
    this.#nowMs = options.nowMs;
    this.#say = options.say;
    this.#reason = options.reason;
    this.#sinceMs = options.nowMs();
  }

  /** Something was shown. */
  ends(): void {
    this.#sinceMs = this.#nowMs();
    this.#told = 0;
  }

  readerFull(): void {
    this.#isReaderFull = true;
    this.ends();
  }

  readerDrained(): void {
    this.#isReaderFull = false;
    this.ends();
  }

  /** Tells a silence that is due. Gives the milliseconds until there may be another one to tell: it is to be called again then. */
  look(): number {
    const silentMs = this.#nowMs() - this.#sinceMs;
    const times = Math.floor(silentMs / SILENCE_MS);
    const untilNextMs = SILENCE_MS * (times + 1) - silentMs;
    if (times <= this.#told) return untilNextMs;
    const isFirst = this.#told === 0;
    this.#told = times;
    const seconds = Math.round(silentMs / 1000);
    if (!this.#isReaderFull) this.#say(this.#reason(seconds));
    // Who reads a screen at a time knows it after the first.
    else if (isFirst)
      this.#say(`the reader takes no more for ${seconds} s; until it does, packets wait at the agents as far as they keep them`);
    return untilNextMs;
  }
}

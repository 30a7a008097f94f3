import type { Writable } from 'node:stream';

/** What records are printed as, as they come. */
export type OutputFormat = 'text' | 'wide' | 'json' | 'pcapng';
/** What records that are all there are printed as: a page sums them up. */
export type DumpFormat = OutputFormat | 'html';

/** Lines to a stream, many in one write, that knows when its reader is slow or gone. */
export class Output {
  readonly #stream: Writable;
  #lines: string[] = [];
  #isDue = false;
  #isGone = false;

  /** `full` and `drained` say that the reader is slow, and no longer; `gone` that it closed its end (a pipe to head). */
  constructor(stream: Writable, handler: { full(): void; drained(): void; gone(error: Error): void }) {
    this.#stream = stream;
    this.#handler = handler;
    stream.on('drain', () => handler.drained());
    stream.on('error', (error) => {
      if (this.#isGone) return;
      this.#isGone = true;
      handler.gone(error);
    });
  }

  readonly #handler: { full(): void };

  line(text: string): void {
    this.#lines.push(text);
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => this.#flush());
  }

  /** What is no text; behind the lines before it. */
  bytes(bytes: Uint8Array): void {
    this.#flush();
    if (!this.#isGone && !this.#stream.write(bytes)) this.#handler.full();
  }

  /** Resolves when everything has been handed to the system, or the reader is gone. */
  async end(): Promise<void> {
    this.#flush();
    if (this.#isGone) return;
    await new Promise<void>((resolve) => {
      this.#stream.write('', () => resolve());
      this.#stream.once('error', () => resolve());
    });
  }

  #flush(): void {
    this.#isDue = false;
    if (this.#lines.length === 0 || this.#isGone) return;
    const text = `${this.#lines.join('\n')}\n`;
    this.#lines = [];
    if (!this.#stream.write(text)) this.#handler.full();
  }
}

import type { Writable } from 'node:stream';
import { Output } from './output.ts';

/** Lines to a stream, which waits for a reader that is slow, and stops for one that is gone. */
export class GatedOutput {
  readonly #output: Output;
  #drained: PromiseWithResolvers<void> | undefined;
  isGone = false;

  constructor(stream: Writable) {
    this.#output = new Output(stream, {
      full: () => {
        this.#drained ??= Promise.withResolvers();
      },
      drained: () => this.#release(),
      gone: () => {
        this.isGone = true;
        this.#release();
      },
    });
  }

  async line(text: string): Promise<void> {
    this.#output.line(text);
    await this.#drained?.promise;
  }

  /** Not to be mixed with lines that have not left yet. */
  async bytes(bytes: Uint8Array): Promise<void> {
    this.#output.bytes(bytes);
    await this.#drained?.promise;
  }

  end(): Promise<void> {
    return this.#output.end();
  }

  #release(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }
}

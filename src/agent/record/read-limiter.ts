import { Turns } from '../../util/turns.ts';

const BYTES_PER_SECOND = 64 * 1024 * 1024;
/** A timer of a few milliseconds lasts longer than it says: short waits are put together. */
const SHORT_MS = 10;

/** Bounds how fast a node's recording is read, by all together who read it. One at a time: a disk that hangs holds one thread by it. */
export class ReadLimiter {
  readonly turns = new Turns(1);
  #paidMs = 0;

  /** Resolves when so many bytes more may be read. */
  async read(bytes: number): Promise<void> {
    const nowMs = performance.now();
    this.#paidMs = Math.max(this.#paidMs, nowMs) + (bytes * 1000) / BYTES_PER_SECOND;
    const waitMs = this.#paidMs - nowMs;
    if (waitMs > SHORT_MS) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/** Bytes of a file or pipe, taken in pieces of the size that is asked for. Holds little more than the piece at hand. */
export class FileReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest = Buffer.alloc(0);
  #at = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  /** How many bytes were taken. */
  get at(): number {
    return this.#at;
  }

  /** The next `count` bytes; fewer at the end of the file. A view that stays valid. */
  async take(count: number): Promise<Buffer> {
    if (this.#rest.length < count) await this.#fill(count);
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(taken.length);
    this.#at += taken.length;
    return taken;
  }

  /** The next `count` bytes as {@link take} gives them, which stay to be taken. */
  async peek(count: number): Promise<Buffer> {
    if (this.#rest.length < count) await this.#fill(count);
    return this.#rest.subarray(0, count);
  }

  async #fill(count: number): Promise<void> {
    const parts: Uint8Array[] = [this.#rest];
    let total = this.#rest.length;
    while (total < count) {
      const { value, done } = await this.#chunks.next();
      if (done === true) break;
      parts.push(value);
      total += value.length;
    }
    this.#rest = Buffer.concat(parts, total);
  }

  /** Closes the source. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

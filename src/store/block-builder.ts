import { type BlockType, type BuiltBlock, encodeBlock } from './block.ts';
import type { Dictionaries } from './dictionaries.ts';

const FULL_BYTES = 256 * 1024;
/** What one line may add at most; longer ones are refused. */
const MAX_LINE_BYTES = 64 * 1024;

/** Gathers lines in one buffer, of which no object is kept, and makes a block of them. */
export class BlockBuilder {
  readonly #type: BlockType;
  readonly #dictionaries: Dictionaries | undefined;
  readonly #buffer = Buffer.allocUnsafeSlow(FULL_BYTES + MAX_LINE_BYTES);
  readonly #keys = new Set<string>();
  #length = 0;
  #count = 0;
  #fromMs = Number.POSITIVE_INFINITY;
  #toMs = Number.NEGATIVE_INFINITY;
  #rawTotal = 1;
  #encodedTotal = 0.1;

  /** `dictionaries`: what blocks are packed with; they learn from each. */
  constructor(type: BlockType, dictionaries?: Dictionaries) {
    this.#type = type;
    this.#dictionaries = dictionaries;
  }

  get isFull(): boolean {
    return this.#length >= FULL_BYTES;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Bytes on disk for a byte of text, so far. */
  get ratio(): number {
    return this.#encodedTotal / this.#rawTotal;
  }

  /** Bytes of all blocks so far. */
  get encodedBytes(): number {
    return this.#encodedTotal;
  }

  /** Takes a line in; gives its bytes, 0 when it is too long. Only while it is not full. */
  add(line: string, timeMs: number, keys: Iterable<string>): number {
    // A character takes at most three bytes.
    if (line.length * 3 >= MAX_LINE_BYTES && Buffer.byteLength(line) >= MAX_LINE_BYTES) return 0;
    const begin = this.#length;
    this.#length += this.#buffer.write(line, begin);
    this.#buffer[this.#length++] = 0x0a;
    this.#count += 1;
    this.#fromMs = Math.min(this.#fromMs, timeMs);
    this.#toMs = Math.max(this.#toMs, timeMs);
    for (const key of keys) this.#keys.add(key);
    return this.#length - begin;
  }

  /** The block of all lines since the last one. */
  take(): BuiltBlock {
    const raw = this.#buffer.subarray(0, this.#length);
    const content = { type: this.#type, raw, count: this.#count, fromMs: this.#fromMs, toMs: this.#toMs, keys: this.#keys };
    const { count, fromMs, toMs } = content;
    const block = { bytes: encodeBlock(content, this.#dictionaries?.current), count, fromMs, toMs };
    this.#dictionaries?.learn(raw);
    this.#rawTotal += this.#length;
    this.#encodedTotal += block.bytes.length;
    this.#keys.clear();
    this.#length = 0;
    this.#count = 0;
    this.#fromMs = Number.POSITIVE_INFINITY;
    this.#toMs = Number.NEGATIVE_INFINITY;
    return block;
  }
}

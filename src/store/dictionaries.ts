import { crc32 } from 'node:zlib';
import type { BuiltBlock } from './block.ts';
import { type Dictionary, encodeBlock } from './block.ts';

/** Of text. With 128 KiB blocks are packed a little smaller still, and in half as much time again. */
const TEXT_BYTES = 96 * 1024;
/** Pods come and go: a dictionary gets old. */
const AGE_MS = 3_600_000;

/**
 * What a recording's blocks are packed with: text of its own records, in which nearly all that a record says over and over again has been said. A second
 * of a quiet node is too little text to pack well by itself. A segment holds the dictionaries of its blocks, each twice, so that one damaged place costs
 * no more than itself.
 */
export class Dictionaries {
  current: Dictionary | undefined;
  #before: Dictionary | undefined;
  readonly #text = Buffer.alloc(TEXT_BYTES);
  #learnt = 0;
  #madeAtMs = 0;

  /** Takes note of a block's text. */
  learn(raw: Buffer): void {
    const taken = raw.subarray(Math.max(0, raw.length - TEXT_BYTES));
    this.#text.copyWithin(0, taken.length);
    taken.copy(this.#text, TEXT_BYTES - taken.length);
    this.#learnt += taken.length;
  }

  /** A new one, when there is text for it and the current one is none or old. It is in use once it is handed to {@link use}. */
  due(nowMs: number): Dictionary | undefined {
    if (this.#learnt < TEXT_BYTES || (this.current !== undefined && nowMs - this.#madeAtMs < AGE_MS)) return undefined;
    this.#learnt = 0;
    this.#madeAtMs = nowMs;
    const text = Buffer.from(this.#text);
    return { id: crc32(text), text };
  }

  use(dictionary: Dictionary): void {
    this.#before = this.current;
    this.current = dictionary;
  }

  /** What a segment begins with: blocks that wait to be written may have been packed with the one before. */
  opening(): BuiltBlock[] {
    const known = [this.#before, this.current].filter((one) => one !== undefined);
    return [...known, ...known].map((one) => ({ bytes: dictionaryBlock(one), count: 0 }));
  }
}

/** As it stands in a segment before the blocks that are packed with it. */
export function twice(dictionary: Dictionary): BuiltBlock {
  const block = dictionaryBlock(dictionary);
  return { bytes: Buffer.concat([block, block]), count: 0 };
}

function dictionaryBlock({ text }: Dictionary): Buffer {
  return encodeBlock({ type: 'dictionary', raw: text, count: 0, fromMs: 0, toMs: 0, keys: new Set() });
}

import { closeSync, openSync, readSync } from 'node:fs';
import { UNKNOWN_SYMBOL } from '../../../event/names.ts';

const NEWLINE = 10;
const SPACE = 32;
const TAB = 9;
const TYPE_AT = 17;
const NAME_AT = 19;
const CHUNK_BYTES = 256 * 1024;
/** Kernel addresses differ in their low 48 bits, which a double holds exactly. */
const LOW_BITS = 0xffff_ffff_ffffn;

/**
 * Functions of the kernel by address, from the text of `/proc/kallsyms` (lines of `address type name [module]`). Kept as bytes, and taken in by
 * pieces: a kernel has about 100,000 of them, and an agent has no memory to spare. Without CAP_SYSLOG all addresses there are zero: then none is
 * known.
 */
export class Symbols {
  #addresses = new Float64Array(4096);
  /** Where the name of the nth address begins in #names, and where the last one ends. */
  #offsets = new Uint32Array(4097);
  #names = Buffer.alloc(64 * 1024);
  #count = 0;
  #isSorted = true;

  /** @param lines whole lines, in pieces */
  constructor(lines: Iterable<Buffer>) {
    for (const piece of lines) this.#take(piece);
    if (!this.#isSorted) this.#sort();
  }

  /** True when addresses can be resolved to symbols. */
  get areKnown(): boolean {
    return this.#count > 0;
  }

  /** Name of the function that `address` lies in, else `unknown`: kernel addresses are never sent. */
  at(address: bigint): string {
    const wanted = Number(address & LOW_BITS);
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#addresses[middle] as number) <= wanted) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? UNKNOWN_SYMBOL : this.#name(low - 1).toString('latin1');
  }

  #name(index: number): Buffer {
    return this.#names.subarray(this.#offsets[index], this.#offsets[index + 1]);
  }

  #take(text: Buffer): void {
    for (let start = 0; start < text.length; ) {
      const end = text.indexOf(NEWLINE, start);
      const type = text[start + TYPE_AT];
      const address = type === 0x74 || type === 0x54 ? lowBits(text, start) : 0;
      if (address !== 0) this.#add(address, text, start + NAME_AT);
      start = end < 0 ? text.length : end + 1;
    }
  }

  #add(address: number, text: Buffer, from: number): void {
    if (this.#count === this.#addresses.length) this.#grow();
    const size = nameEnd(text, from) - from;
    const offset = this.#offsets[this.#count] as number;
    if (offset + size > this.#names.length) this.#names = Buffer.concat([this.#names, Buffer.alloc(this.#names.length)]);
    text.copy(this.#names, offset, from, from + size);
    if (this.#count > 0 && address < (this.#addresses[this.#count - 1] as number)) this.#isSorted = false;
    this.#addresses[this.#count] = address;
    this.#count += 1;
    this.#offsets[this.#count] = offset + size;
  }

  #grow(): void {
    const addresses = new Float64Array(this.#addresses.length * 2);
    addresses.set(this.#addresses);
    const offsets = new Uint32Array(addresses.length + 1);
    offsets.set(this.#offsets);
    this.#addresses = addresses;
    this.#offsets = offsets;
  }

  /** The kernel's own come in order, its modules' do not. */
  #sort(): void {
    const order = Uint32Array.from({ length: this.#count }, (_, index) => index);
    order.sort((a, b) => (this.#addresses[a] as number) - (this.#addresses[b] as number));
    const addresses = new Float64Array(this.#count);
    const offsets = new Uint32Array(this.#count + 1);
    const names = Buffer.alloc(this.#offsets[this.#count] as number);
    for (let at = 0; at < this.#count; at += 1) {
      const index = order[at] as number;
      const name = this.#name(index);
      name.copy(names, offsets[at] as number);
      addresses[at] = this.#addresses[index] as number;
      offsets[at + 1] = (offsets[at] as number) + name.length;
    }
    this.#addresses = addresses;
    this.#offsets = offsets;
    this.#names = names;
  }
}

/** What `/proc/kallsyms` lists; nothing where it cannot be read. */
export function readSymbols(path: string): Symbols {
  try {
    return new Symbols(linesOf(path));
  } catch {
    return new Symbols([]);
  }
}

/** A file in pieces that end where lines do. */
function* linesOf(path: string): Generator<Buffer> {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let kept = 0;
    for (;;) {
      const got = readSync(file, buffer, kept, buffer.length - kept, null);
      const filled = kept + got;
      const whole = got === 0 ? filled : buffer.subarray(0, filled).lastIndexOf(NEWLINE) + 1;
      yield buffer.subarray(0, whole);
      if (got === 0) return;
      buffer.copy(buffer, 0, whole, filled);
      kept = filled - whole;
    }
  } finally {
    closeSync(file);
  }
}

/** The last 12 of the 16 hexadecimal digits at `start`. */
function lowBits(text: Buffer, start: number): number {
  let value = 0;
  for (let at = start + 4; at < start + 16; at += 1) {
    const digit = text[at] as number;
    value = value * 16 + (digit <= 0x39 ? digit - 0x30 : digit - 0x57);
  }
  return value;
}

function nameEnd(text: Buffer, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== TAB && text[at] !== SPACE && text[at] !== NEWLINE) at += 1;
  return at;
}

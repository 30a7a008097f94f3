import { readFileSync } from 'node:fs';

const NEWLINE = 10;
const SPACE = 32;
const TAB = 9;
const TYPE_AT = 17;
const NAME_AT = 19;
/** Kernel addresses differ in their low 48 bits, which a double holds exactly. */
const LOW_BITS = 0xffff_ffff_ffffn;

/**
 * Functions of the kernel by address, from the text of `/proc/kallsyms` (lines of `address type name [module]`). Kept as bytes: a kernel has
 * about 100,000 of them, and an agent has no memory to spare. Without CAP_SYSLOG all addresses there are zero: then none is known.
 */
export class Symbols {
  readonly #addresses: Float64Array;
  readonly #names: Buffer;
  /** Where the name of the nth address begins in #names; ends with a newline. */
  readonly #offsets: Uint32Array;

  constructor(text: Buffer) {
    const lines = functionLines(text);
    const order = Uint32Array.from(lines.addresses, (_, index) => index);
    order.sort((a, b) => (lines.addresses[a] as number) - (lines.addresses[b] as number));
    this.#addresses = Float64Array.from(order, (index) => lines.addresses[index] as number);
    this.#offsets = new Uint32Array(order.length);
    const names = Buffer.allocUnsafe(text.length);
    let size = 0;
    for (let at = 0; at < order.length; at += 1) {
      const from = lines.starts[order[at] as number] as number;
      this.#offsets[at] = size;
      size += text.copy(names, size, from, nameEnd(text, from));
      names[size] = NEWLINE;
      size += 1;
    }
    this.#names = Buffer.from(names.subarray(0, size));
  }

  /** True when addresses can be told as symbols. */
  get areKnown(): boolean {
    return this.#addresses.length > 0;
  }

  /** Name of the function that `address` lies in, else `0x…`. */
  at(address: bigint): string {
    const wanted = Number(address & LOW_BITS);
    let low = 0;
    let high = this.#addresses.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#addresses[middle] as number) <= wanted) low = middle + 1;
      else high = middle;
    }
    const start = this.#offsets[low - 1];
    if (start === undefined) return `0x${address.toString(16)}`;
    return this.#names.toString('latin1', start, this.#names.indexOf(NEWLINE, start));
  }
}

/** The running kernel's symbols; none where they cannot be read. Takes about 0.1 s: for the start, not for the first drop. */
export function readSymbols(path = '/proc/kallsyms'): Symbols {
  try {
    return new Symbols(readFileSync(path));
  } catch {
    return new Symbols(Buffer.alloc(0));
  }
}

function functionLines(text: Buffer): { addresses: Float64Array; starts: Uint32Array } {
  // A line is 20 bytes at the least.
  const addresses = new Float64Array(Math.ceil(text.length / 20));
  const starts = new Uint32Array(addresses.length);
  let count = 0;
  for (let start = 0; start < text.length; ) {
    const type = text[start + TYPE_AT];
    const address = type === 0x74 || type === 0x54 ? lowBits(text, start) : 0;
    if (address !== 0) {
      addresses[count] = address;
      starts[count] = start + NAME_AT;
      count += 1;
    }
    const end = text.indexOf(NEWLINE, start);
    start = end < 0 ? text.length : end + 1;
  }
  return { addresses: addresses.subarray(0, count), starts };
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

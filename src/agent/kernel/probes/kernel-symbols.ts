import { UNKNOWN_SYMBOL } from '../../../event/names.ts';

/** Names are asked for where the kernel drops packets: some dozen places. */
const REMEMBERED = 4096;
/** A module may come back elsewhere, and another one be where it was. */
const REMEMBERED_MS = 10_000;

/**
 * The running kernel's functions by address, as the kernel itself finds them: an agent keeps no copy of what the kernel has in memory already, needs no right
 * to read it, and knows the functions of modules that are loaded later.
 */
export class KernelSymbols {
  readonly #textOf: (address: bigint) => string;
  readonly #nowMs: () => number;
  readonly #names = new Map<bigint, string>();
  #sinceMs = 0;

  /**
   * @param textOf what the kernel prints for an address: `function` or `function [module]`, the address itself where it knows none
   * @param nowMs monotonic
   */
  constructor(textOf: (address: bigint) => string, nowMs: () => number = () => performance.now()) {
    this.#textOf = textOf;
    this.#nowMs = nowMs;
  }

  /** Name of the function that `address` lies in, else `unknown`: kernel addresses are never sent. */
  at(address: bigint): string {
    const nowMs = this.#nowMs();
    if (this.#names.size >= REMEMBERED || nowMs - this.#sinceMs > REMEMBERED_MS) {
      this.#names.clear();
      this.#sinceMs = nowMs;
    }
    let name = this.#names.get(address);
    if (name === undefined) {
      name = functionOf(this.#textOf(address));
      this.#names.set(address, name);
    }
    return name;
  }
}

function functionOf(text: string): string {
  const [name = ''] = text.split(' ', 1);
  return name === '' || name.startsWith('0x') ? UNKNOWN_SYMBOL : name;
}

import { readFileSync } from 'node:fs';

/**
 * Kernel symbols by address, from `/proc/kallsyms`, read when first asked. Without CAP_SYSLOG all addresses there are zero: then an address is
 * told as it is.
 */
export class Symbols {
  readonly #path: string;
  #addresses: BigUint64Array | undefined;
  #names: string[] = [];

  constructor(path = '/proc/kallsyms') {
    this.#path = path;
  }

  /** True when addresses can be told as symbols. */
  get areKnown(): boolean {
    return this.#load().length > 0;
  }

  /** Name of the function that `address` lies in, else `0x…`. */
  at(address: bigint): string {
    const addresses = this.#load();
    let low = 0;
    let high = addresses.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((addresses[middle] as bigint) <= address) low = middle + 1;
      else high = middle;
    }
    return this.#names[low - 1] ?? `0x${address.toString(16)}`;
  }

  #load(): BigUint64Array {
    if (this.#addresses !== undefined) return this.#addresses;
    const symbols: { address: bigint; name: string }[] = [];
    for (const line of readText(this.#path).split('\n')) {
      const [address, type, name] = line.split(' ');
      if (name === undefined || (type !== 't' && type !== 'T')) continue;
      const value = BigInt(`0x${address}`);
      if (value !== 0n) symbols.push({ address: value, name: name.split('\t', 1)[0] as string });
    }
    symbols.sort((a, b) => (a.address < b.address ? -1 : 1));
    this.#names = symbols.map(({ name }) => name);
    this.#addresses = BigUint64Array.from(symbols, ({ address }) => address);
    return this.#addresses;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

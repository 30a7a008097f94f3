import { readFileSync } from 'node:fs';
import { readSymbols, type Symbols } from './symbols.ts';

/** Names are asked for where the kernel drops packets: some dozen places. */
const REMEMBERED = 4096;

export interface SymbolFiles {
  kallsyms: string;
  modules: string;
}

/**
 * The running kernel's functions, also those of modules that are loaded later: the first unknown address after that reads
 * them anew. Without CAP_SYSLOG none is known.
 */
export class KernelSymbols {
  readonly #files: SymbolFiles;
  #symbols: Symbols;
  #modules: string;
  readonly #names = new Map<bigint, string>();

  /** Takes about 0.1 s: for the start, not for the first drop. */
  constructor(files: SymbolFiles = { kallsyms: '/proc/kallsyms', modules: '/proc/modules' }) {
    this.#files = files;
    this.#modules = this.#readModules();
    this.#symbols = readSymbols(files.kallsyms);
  }

  /** True when addresses can be resolved to symbols. */
  get areKnown(): boolean {
    return this.#symbols.areKnown;
  }

  /** Name of the function that `address` lies in, else `unknown`. */
  at(address: bigint): string {
    const known = this.#names.get(address);
    if (known !== undefined) return known;
    this.#refresh();
    const name = this.#symbols.at(address);
    if (this.#names.size >= REMEMBERED) this.#names.clear();
    this.#names.set(address, name);
    return name;
  }

  #refresh(): void {
    const modules = this.#readModules();
    if (modules === this.#modules) return;
    // Before the symbols: what comes meanwhile is found the next time.
    this.#modules = modules;
    this.#symbols = readSymbols(this.#files.kallsyms);
    this.#names.clear();
  }

  /** Names and addresses alone: use counts change all the time. */
  #readModules(): string {
    try {
      return readFileSync(this.#files.modules, 'latin1').replace(/^(\S+) .* (0x\S+).*$/gm, '$1 $2');
    } catch {
      return '';
    }
  }
}

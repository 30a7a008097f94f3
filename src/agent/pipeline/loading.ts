import type { NativeModule } from '../../native/types.ts';
import type { Logger } from '../../util/log.ts';
import type { Tracer } from '../kernel/tracer.ts';

export interface LoadingOptions {
  tracer: Pick<Tracer, 'load' | 'unload' | 'isLoaded'>;
  native: Pick<NativeModule, 'trimMemory'>;
  log: Logger;
  /** Programs are unloaded when nobody has followed for this time; 0: never. Ten minutes unless given. */
  unloadAfterMs?: number;
  isFollowed(): boolean;
}

export const UNLOAD_AFTER_MS = 600_000;
const LOOKS = 10;

/** Has the programs and their maps loaded while somebody follows, and for a while after: a follow that finds them loaded begins 0.3 s earlier. */
export class Loading {
  readonly #options: LoadingOptions;
  readonly #timer: NodeJS.Timeout | undefined;
  #looksUnused = 0;
  #isClosed = false;

  constructor(options: LoadingOptions) {
    this.#options = options;
    const { unloadAfterMs = UNLOAD_AFTER_MS } = options;
    if (unloadAfterMs === 0) return;
    this.#timer = setInterval(() => this.#look(), unloadAfterMs / LOOKS);
    this.#timer.unref();
  }

  /**
   * Loads the programs where they are not.
   * @throws what {@link Tracer.load} throws, and after {@link close}
   */
  use(): void {
    this.#looksUnused = 0;
    const { tracer, log } = this.#options;
    if (this.#isClosed) throw new Error('the agent is going down');
    const startMs = performance.now();
    if (tracer.load()) log.info({ ms: Math.round(performance.now() - startMs) }, 'the programs are loaded again');
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  #look(): void {
    const { tracer, native, log, isFollowed } = this.#options;
    this.#looksUnused = isFollowed() ? 0 : this.#looksUnused + 1;
    if (this.#looksUnused < LOOKS || !tracer.isLoaded) return;
    try {
      tracer.unload();
      log.info('nobody follows: the programs and their maps are unloaded until somebody does');
      native.trimMemory();
    } catch (error) {
      log.warn({ err: error }, 'the programs could not be unloaded; trying again');
      this.#looksUnused = 0;
    }
  }
}

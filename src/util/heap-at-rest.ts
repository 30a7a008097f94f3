import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { messageOf } from './errors.ts';
import type { Logger } from './log.ts';

export interface HeapAtRestOptions {
  /** Whether anybody is served: whoever waits for an answer is not kept waiting by a collection. */
  isServing(): boolean;
  log: Logger;
  /** Called after each collection: gives back what is not V8's. */
  alsoGiveBack?: () => void;
  /** CPU time of this process since its start, milliseconds. */
  cpuMs?: () => number;
  /** What the heap and the buffers beside it take of memory, bytes. */
  takenBytes?: () => number;
  /** Collects all, and gives empty pages back to the system. */
  collect?: () => void;
}

/** So often is looked; at rest for so long. */
const EVERY_MS = 20_000;
/** A process at rest takes at most this part of a core. */
const REST = 0.02;
/**
 * A collection takes 30 ms of a small heap and 0.1 to 0.4 s of one with 150,000 endpoints, and V8 compiles anew what is called after it. So much is worth
 * that at once, and less after a while: a process that is merely quiet takes some of it again and again.
 */
const WORTH_BYTES = 16 << 20;
const LESS_BYTES = 4 << 20;
const WHILE_MS = 600_000;

/**
 * Gives back to the system what V8's heap took for work that is over: the lists of a start, a flood, a dump. V8 keeps the pages that its heap once had
 * until it needs to collect for want of memory (docs/performance.md has what that comes to), and a process with nothing to do never does. A recorder
 * or exporter does not read the ring meanwhile. Looks while the process lives, without keeping it alive. Returns a function that ends it.
 */
export function giveHeapBackAtRest(options: HeapAtRestOptions): () => void {
  const { isServing, log, alsoGiveBack, cpuMs = ownCpuMs, takenBytes = heapBytes, collect = collectAll } = options;
  let lastCpuMs = cpuMs();
  let leftBytes = 0;
  let sinceMs = 0;
  const look = (): void => {
    const usedMs = cpuMs() - lastCpuMs;
    lastCpuMs += usedMs;
    sinceMs += EVERY_MS;
    const before = takenBytes();
    leftBytes = Math.min(leftBytes, before);
    if (isServing() || usedMs > EVERY_MS * REST) return;
    if (before - leftBytes < (sinceMs > WHILE_MS ? LESS_BYTES : WORTH_BYTES)) return;
    collect();
    alsoGiveBack?.();
    leftBytes = takenBytes();
    sinceMs = 0;
    log.debug({ before, after: leftBytes }, 'memory of the heap was given back');
  };
  const timer = setInterval(() => {
    try {
      look();
    } catch (error) {
      // The process is as well without it.
      clearInterval(timer);
      log.warn({ err: messageOf(error) }, 'memory of the heap cannot be given back');
    }
  }, EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function heapBytes(): number {
  const { total_physical_size, external_memory } = getHeapStatistics();
  return total_physical_size + external_memory;
}

/** V8's own function for it, which only a context has that is made while the flag is set. */
function collectAll(): void {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as (how: object) => void;
  setFlagsFromString('--no-expose-gc');
  collectGarbage({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

import { setTimeout as sleep } from 'node:timers/promises';
import type { PaperCluster } from './cluster.ts';

/** What was changed, a second. */
export interface ChurnRate {
  pods: number;
  /** Heartbeats of nodes. */
  nodes: number;
}

/** A kubelet reports its node's status at least this often. */
const HEARTBEAT_S = 300;
const TICK_MS = 20;
/** Beyond so many that the server has not answered yet no more pods are changed; the rate that comes out is told. */
const MAX_OPEN = 100;

/** Changes pods all over the cluster at a rate, each with its EndpointSlice, while every node sends its heartbeats. */
export class Churn {
  readonly #cluster: PaperCluster;
  readonly #changesPerS: number;
  readonly #open = new Set<Promise<unknown>>();
  readonly #busy = new Set<string>();
  #failure: unknown;

  constructor(cluster: PaperCluster, changesPerS: number) {
    this.#cluster = cluster;
    this.#changesPerS = changesPerS;
  }

  /** @throws what the first change that failed threw */
  async run(seconds: number, signal: AbortSignal): Promise<ChurnRate> {
    const { pods, nodes } = this.#cluster.size;
    const startMs = performance.now();
    let changed = 0;
    let beaten = 0;
    while (performance.now() - startMs < seconds * 1000 && this.#failure === undefined) {
      const elapsedS = (performance.now() - startMs) / 1000;
      // Strides that are prime to any size in use go through all pods before one comes again.
      while (changed < elapsedS * this.#changesPerS && this.#open.size < MAX_OPEN) {
        const index = (changed * 7919) % pods;
        this.#begin(`pod ${index}`, () => this.#cluster.change(index));
        changed += 1;
      }
      while (beaten < (elapsedS * nodes) / HEARTBEAT_S && this.#open.size < 2 * MAX_OPEN) {
        const index = (beaten * 7919) % nodes;
        this.#begin(`node ${index}`, () => this.#cluster.heartbeat(index));
        beaten += 1;
      }
      await sleep(TICK_MS, undefined, { signal });
    }
    await Promise.all(this.#open);
    if (this.#failure !== undefined) throw this.#failure;
    const tookS = (performance.now() - startMs) / 1000;
    return { pods: changed / tookS, nodes: beaten / tookS };
  }

  /** One at a time for each object: the next write needs what the last one left. */
  #begin(key: string, work: () => Promise<void>): void {
    if (this.#busy.has(key)) return;
    this.#busy.add(key);
    const done = work()
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#open.delete(done);
        this.#busy.delete(key);
      });
    this.#open.add(done);
  }
}

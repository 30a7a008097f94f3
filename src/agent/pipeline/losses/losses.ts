import type { LostEvent, PodRef } from '../../../event/types.ts';
import type { KernelStats, Tracer } from '../../kernel/tracer.ts';
import { type Cut, CutRates } from './cut-rates.ts';

export interface LossesOptions {
  node: string;
  tracer: Pick<Tracer, 'stats' | 'rates' | 'podCuts' | 'recursionMisses'>;
  /** The pod that something is charged to. */
  podOf(cut: Cut): PodRef | undefined;
  /** UTC in nanoseconds. */
  now(): string;
}

/** The table fills and empties from one reading to the next: it is not called full any more only after so many without a flow that found no room. */
const TAKES_WITH_ROOM = 30;

/** What the kernel side did not send, as events for the followers: every count is reported once. */
export class Losses {
  readonly #options: LossesOptions;
  readonly #rates = new CutRates();
  #ring = 0;
  #uncounted = 0;
  #tableFull = 0;
  #misses = 0;
  #takesWithRoom = TAKES_WITH_ROOM;
  #cut = 0;
  #since = '';

  constructor(options: LossesOptions) {
    this.#options = options;
  }

  /** What was lost before this moment is not reported. */
  start(): void {
    const { tracer, now } = this.#options;
    this.#rates.take(tracer.rates(), tracer.podCuts());
    const stats = tracer.stats();
    this.#ring = ringLosses(stats);
    this.#uncounted = stats.uncounted;
    this.#tableFull = stats.flowTableFull;
    this.#takesWithRoom = TAKES_WITH_ROOM;
    this.#cut = stats.cut;
    this.#misses = tracer.recursionMisses();
    this.#since = now();
  }

  /** Flows found no room in the kernel's table, lately. */
  get isTableFull(): boolean {
    return this.#takesWithRoom < TAKES_WITH_ROOM;
  }

  /** What was lost since the last time. */
  take(): LostEvent[] {
    const { node, tracer, now } = this.#options;
    const stats = tracer.stats();
    const span = { from: this.#since, to: now() };
    this.#since = span.to;
    const events: LostEvent[] = [];
    const ring = ringLosses(stats) - this.#ring;
    this.#ring += ring;
    if (ring > 0) events.push({ v: 1, kind: 'lost', node, stage: 'kernel-ring', count: ring, ...span });
    const uncounted = stats.uncounted - this.#uncounted;
    this.#uncounted = stats.uncounted;
    if (uncounted > 0) events.push({ v: 1, kind: 'lost', node, stage: 'flow-table', count: uncounted, ...span });
    this.#takesWithRoom = stats.flowTableFull > this.#tableFull ? 0 : this.#takesWithRoom + 1;
    this.#tableFull = stats.flowTableFull;
    const misses = tracer.recursionMisses() - this.#misses;
    this.#misses += misses;
    // Fewer than before: a program was unloaded, and its count went with it.
    if (misses > 0) events.push({ v: 1, kind: 'lost', node, stage: 'kernel-recursion', count: misses, ...span });
    if (stats.cut === this.#cut) return events;
    for (const [pod, count] of this.#cutByPod()) {
      events.push({ v: 1, kind: 'lost', node, stage: 'pod-rate', count, ...(pod && { pod }), ...span });
    }
    return events;
  }

  /** The rates are read before their sum: what is in the sum and was charged to no known pod, or not yet, is reported without a pod. */
  #cutByPod(): Map<PodRef | undefined, number> {
    const { tracer, podOf } = this.#options;
    const byUid = new Map<string, { pod: PodRef; count: number }>();
    let known = 0;
    for (const cut of this.#rates.take(tracer.rates(), tracer.podCuts())) {
      const pod = podOf(cut);
      if (pod === undefined) continue;
      known += cut.count;
      const sum = byUid.get(pod.uid);
      if (sum === undefined) byUid.set(pod.uid, { pod, count: cut.count });
      else sum.count += cut.count;
    }
    const rest = tracer.stats().cut - this.#cut - known;
    // A run that has charged a pod and not counted itself yet makes the rest negative: the next sum has it.
    this.#cut += known + Math.max(0, rest);
    const byPod = new Map<PodRef | undefined, number>();
    for (const { pod, count } of byUid.values()) byPod.set(pod, count);
    if (rest > 0) byPod.set(undefined, rest);
    return byPod;
  }
}

function ringLosses({ lostRing, lostScratch }: KernelStats): number {
  return lostRing + lostScratch;
}

import type { LostEvent, LostStage } from '../../../event/types.ts';

/** Most pods that are counted separately; the losses of more are summed without their pod. */
const MAX_PODS = 256;

/** What was lost, without where it is told. */
export type Loss = Pick<LostEvent, 'stage' | 'pod' | 'count' | 'from' | 'to'>;

/** Losses, summed by stage and pod until they are taken. */
export class LossSums {
  readonly #byPod = new Map<string, Loss>();
  readonly #byStage = new Map<LostStage, Loss>();

  get isEmpty(): boolean {
    return this.#byPod.size === 0 && this.#byStage.size === 0;
  }

  add({ stage, pod, count, from, to }: Loss): void {
    const key = `${stage} ${pod?.uid}`;
    if (pod !== undefined && (this.#byPod.has(key) || this.#byPod.size < MAX_PODS)) {
      const sum = this.#byPod.get(key);
      if (sum === undefined) this.#byPod.set(key, { stage, pod, count, from, to });
      else addTo(sum, count, from, to);
    } else {
      const sum = this.#byStage.get(stage);
      if (sum === undefined) this.#byStage.set(stage, { stage, count, from, to });
      else addTo(sum, count, from, to);
    }
  }

  /** Each count once. */
  take(): Loss[] {
    const losses = [...this.#byPod.values(), ...this.#byStage.values()];
    this.#byPod.clear();
    this.#byStage.clear();
    return losses;
  }
}

/** In place: in a flood this is done for each record. */
function addTo(sum: Loss, count: number, from: string, to: string): void {
  sum.count += count;
  if (from < sum.from) sum.from = from;
  if (to > sum.to) sum.to = to;
}

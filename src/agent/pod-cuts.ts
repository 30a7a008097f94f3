import type { LostEvent, PodRef } from '../event/types.ts';

/** Most pods that are counted separately; the cuts of more are reported without their pod. */
const MAX_PODS = 256;

/** Records that were cut because their pod was over its share, summed until they are reported. */
export class PodCuts {
  readonly #byUid = new Map<string, { pod: PodRef | undefined; count: number; from: string }>();

  add(pod: PodRef | undefined, now: string): void {
    const key = pod !== undefined && (this.#byUid.has(pod.uid) || this.#byUid.size < MAX_PODS) ? pod.uid : '';
    const known = this.#byUid.get(key);
    if (known === undefined) this.#byUid.set(key, { pod: key === '' ? undefined : pod, count: 1, from: now });
    else known.count += 1;
  }

  /** Each count once. */
  take(node: string, to: string): LostEvent[] {
    const events = [...this.#byUid.values()].map(
      ({ pod, count, from }): LostEvent => ({
        v: 1,
        kind: 'lost',
        node,
        stage: 'recorder-share',
        ...(pod && { pod }),
        count,
        from,
        to,
      }),
    );
    this.#byUid.clear();
    return events;
  }
}

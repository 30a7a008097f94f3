import type { PodRef } from '../../../event/types.ts';
import type { BuiltBlock } from '../../../store/block.ts';
import { type Loss, LossSums } from './loss-sums.ts';

/**
 * Whose records each segment of what is over the shares holds. They are the first to be deleted, by whatever pod's come after them: then they are a loss like
 * any other, of that pod. Of segments that an earlier run of the agent wrote nothing is known.
 */
export class ExcessLosses {
  #building = new LossSums();
  readonly #bySegment = new Map<string, LossSums>();

  /** A record goes into the block that is being built. */
  add(pod: PodRef | undefined, now: string): void {
    this.#building.add({ stage: 'recorder-share', ...(pod && { pod }), count: 1, from: now, to: now });
  }

  /** The block, with what becomes of its records. */
  follow(block: BuiltBlock): BuiltBlock {
    const sums = this.#building;
    this.#building = new LossSums();
    return { ...block, ended: (segment) => void (segment !== undefined && this.#isIn(segment, sums)) };
  }

  /** What goes with a segment that is deleted. */
  deleted(segment: string): Loss[] {
    const losses = this.#bySegment.get(segment)?.take() ?? [];
    this.#bySegment.delete(segment);
    return losses;
  }

  #isIn(segment: string, sums: LossSums): void {
    const known = this.#bySegment.get(segment);
    if (known === undefined) this.#bySegment.set(segment, sums);
    else for (const loss of sums.take()) known.add(loss);
  }
}

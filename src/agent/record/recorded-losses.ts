import type { LostEvent } from '../../event/types.ts';
import type { BuiltBlock } from '../../store/block.ts';
import { encodeBlock } from '../../store/block.ts';
import type { Dictionaries } from '../../store/dictionaries.ts';
import { type Loss, LossSums } from './losses/loss-sums.ts';
import { LOST_KEY } from './record-keys.ts';

/**
 * Losses on their way into the recording, in blocks of their own: what did not come into it must be in it as a number. A block that finds no room is no
 * loss of its own: its numbers are in the next one.
 */
export class RecordedLosses {
  readonly #node: string;
  readonly #dictionaries: Pick<Dictionaries, 'current'>;
  readonly #waiting = new LossSums();
  #isUnderWay = false;

  constructor(node: string, dictionaries: Pick<Dictionaries, 'current'>) {
    this.#node = node;
    this.#dictionaries = dictionaries;
  }

  get isEmpty(): boolean {
    return this.#waiting.isEmpty;
  }

  add(loss: Loss): void {
    this.#waiting.add(loss);
  }

  /** What waits, as a block; none while the one before is on its way to the disk. */
  take(nowMs: number): BuiltBlock | undefined {
    if (this.#isUnderWay || this.#waiting.isEmpty) return undefined;
    this.#isUnderWay = true;
    const losses = this.#waiting.take();
    const lines = losses.map((loss) => JSON.stringify(eventOf(this.#node, loss)));
    const content = {
      type: 'records' as const,
      raw: Buffer.from(`${lines.join('\n')}\n`),
      count: losses.length,
      // It is found by the time of the loss, which may be long past when the disk takes it.
      fromMs: Math.min(nowMs, ...losses.map(({ from }) => Date.parse(from) || nowMs)),
      toMs: nowMs,
      keys: new Set(losses.map(({ pod }) => pod?.uid ?? LOST_KEY)),
    };
    const { fromMs, toMs } = content;
    const bytes = encodeBlock(content, this.#dictionaries.current);
    return { bytes, count: 0, fromMs, toMs, ended: (segment) => this.#ended(losses, segment !== undefined) };
  }

  #ended(losses: readonly Loss[], isWritten: boolean): void {
    this.#isUnderWay = false;
    if (!isWritten) for (const loss of losses) this.#waiting.add(loss);
  }
}

export function eventOf(node: string, { stage, pod, count, from, to }: Loss): LostEvent {
  return { v: 1, kind: 'lost', node, stage, ...(pod && { pod }), count, from, to };
}

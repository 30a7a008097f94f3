import type { Segment } from '../../store/segment-store.ts';
import type { Damage } from './record-places.ts';

export interface RememberedReadingOptions<T> {
  segments(): readonly Segment[];
  /** Reads them, all that there is. */
  read(onDamage: (damage: Damage) => void): Promise<T>;
  /** Milliseconds of a clock that is never stepped. */
  nowMs(): number;
}

interface Reading<T> {
  /** The segments that were read, and up to where. */
  of: string;
  found: Promise<{ value: T; damaged: readonly Damage[] }>;
  /** Until then it is given also where more has been written. */
  untilMs: number;
}

/** Reading takes this part of the time at most, by however many it is asked for, and however often what is read changes. */
const MOST_PART = 0.1;
const FORGET_MS = 60_000;

/**
 * A part of the recording that is read as a whole, by the loop that also reads the kernel's ring: remembered for as long as nothing is written to it, or a
 * little longer where reading takes long; those who ask at the same time share one reading.
 */
export class RememberedReading<T> {
  readonly #options: RememberedReadingOptions<T>;
  #known: Reading<T> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RememberedReadingOptions<T>) {
    this.#options = options;
  }

  /** What is read is shared, and not to be changed. */
  async read(onDamage: (damage: Damage) => void): Promise<T> {
    const { segments, nowMs } = this.#options;
    const of = segments()
      .map(({ name, bytes }) => `${name}:${bytes}`)
      .join();
    if (this.#known === undefined || (this.#known.of !== of && nowMs() >= this.#known.untilMs)) this.#known = this.#begin(of);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#known = undefined;
    }, FORGET_MS).unref();
    const { value, damaged } = await this.#known.found;
    for (const one of damaged) onDamage(one);
    return value;
  }

  #begin(of: string): Reading<T> {
    const { read, nowMs } = this.#options;
    const beganMs = nowMs();
    const damaged: Damage[] = [];
    const found = read((damage) => damaged.push(damage)).then((value) => ({ value, damaged }));
    const reading: Reading<T> = { of, found, untilMs: Number.POSITIVE_INFINITY };
    found.then(
      () => {
        reading.untilMs = nowMs() + (nowMs() - beganMs) * (1 / MOST_PART - 1);
      },
      () => {
        if (this.#known === reading) this.#known = undefined;
      },
    );
    return reading;
  }
}

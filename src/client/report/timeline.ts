/** What a bar of the timeline tells apart. */
export const BAR_KINDS = ['told', 'error', 'unanswered', 'dropped'] as const;
export type BarKind = (typeof BAR_KINDS)[number];

export interface Bar {
  /** Unix milliseconds of its beginning. */
  atMs: number;
  counts: Record<BarKind, number>;
}

/** Widths of bars that people read easily; each divides the next, so that bars can be put together. */
const WIDTHS_MS = [
  1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000,
];

/** Packets over time, in a bounded number of bars: they get wider as the time gets longer. */
export class Timeline {
  readonly #most: number;
  #widthMs = 1;
  #bars = new Map<number, Record<BarKind, number>>();
  #from = Number.POSITIVE_INFINITY;
  #to = Number.NEGATIVE_INFINITY;

  constructor(most: number) {
    this.#most = most;
  }

  get widthMs(): number {
    return this.#widthMs;
  }

  /** A record without a readable time has no place here. */
  add(time: string, kind: BarKind, count: 1 | -1): void {
    const ms = Date.parse(time);
    if (Number.isNaN(ms)) return;
    this.#from = Math.min(this.#from, ms);
    this.#to = Math.max(this.#to, ms);
    while (this.#indexOf(this.#to) - this.#indexOf(this.#from) >= this.#most) this.#widen();
    this.#at(this.#bars, this.#indexOf(ms))[kind] += count;
  }

  /** From the first to the last, empty ones left out. */
  bars(): Bar[] {
    const bars = [...this.#bars].map(([index, counts]) => ({ atMs: index * this.#widthMs, counts }));
    return bars.filter(({ counts }) => BAR_KINDS.some((kind) => counts[kind] > 0)).sort((a, b) => a.atMs - b.atMs);
  }

  #indexOf(ms: number): number {
    return Math.floor(ms / this.#widthMs);
  }

  #widen(): void {
    const before = this.#widthMs;
    this.#widthMs = WIDTHS_MS.find((width) => width > before) ?? before * 10;
    const bars = new Map<number, Record<BarKind, number>>();
    for (const [index, counts] of this.#bars) {
      const sum = this.#at(bars, this.#indexOf(index * before));
      for (const kind of BAR_KINDS) sum[kind] += counts[kind];
    }
    this.#bars = bars;
  }

  #at(bars: Map<number, Record<BarKind, number>>, index: number): Record<BarKind, number> {
    const known = bars.get(index) ?? { told: 0, error: 0, unanswered: 0, dropped: 0 };
    bars.set(index, known);
    return known;
  }
}

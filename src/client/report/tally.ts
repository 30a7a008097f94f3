/** Records that are alike, counted. */
export interface TallyRow<T> {
  /** What all of them have in common. */
  of: T;
  count: number;
  /** Times of the first and the last, as records tell them. */
  first: string;
  last: string;
}

/** Counts by key, for so many keys; what is of no held key is counted as left out. */
export class Tally<T> {
  /** Records that are in no row. */
  leftOut = 0;
  readonly #held: number;
  readonly #rows = new Map<string, TallyRow<T>>();

  constructor(held: number) {
    this.#held = held;
  }

  add(key: string, time: string, of: () => T, count = 1): void {
    const row = this.#rows.get(key);
    if (row === undefined && this.#rows.size >= this.#held) {
      this.leftOut += count;
      return;
    }
    if (row === undefined) this.#rows.set(key, { of: of(), count, first: time, last: time });
    else {
      row.count += count;
      if (time < row.first) row.first = time;
      if (time > row.last) row.last = time;
    }
  }

  /** One that was added is taken back. */
  remove(key: string): void {
    const row = this.#rows.get(key);
    if (row === undefined) this.leftOut -= 1;
    else if (row.count > 1) row.count -= 1;
    else this.#rows.delete(key);
  }

  /** The most frequent first, as many as are to be shown, and how many records and rows are in none of these. */
  shown(most: number): { rows: TallyRow<T>[]; leftOut: number } {
    const rows = [...this.#rows.values()].sort((a, b) => b.count - a.count);
    const leftOut = rows.slice(most).reduce((sum, { count }) => sum + count, this.leftOut);
    return { rows: rows.slice(0, most), leftOut };
  }
}

/**
 * A queue in order of time. Insertion is cheap where things come nearly in order, as they do; a heap (tinyqueue) would not keep the order of those
 * of the same time.
 */
export class TimeQueue<T extends { sortNs: number }> {
  #items: T[] = [];
  #start = 0;

  get size(): number {
    return this.#items.length - this.#start;
  }

  push(item: T): void {
    let at = this.#items.length;
    while (at > this.#start && (this.#items[at - 1] as T).sortNs > item.sortNs) at--;
    if (at === this.#items.length) this.#items.push(item);
    else this.#items.splice(at, 0, item);
  }

  first(): T | undefined {
    return this.#items[this.#start];
  }

  shift(): T | undefined {
    const item = this.#items[this.#start];
    if (item === undefined) return undefined;
    this.#start++;
    if (this.#start > 1024 && this.#start * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#start);
      this.#start = 0;
    }
    return item;
  }
}

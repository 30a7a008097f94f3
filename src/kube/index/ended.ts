/** Forgets one thing that ended. @param isEarly before its time: nothing else may be forgotten with it */
export type Forget = (beforeMs: number, isEarly: boolean) => void;

interface Entry {
  atMs: number;
  /** Undefined once it was called. */
  forget: Forget | undefined;
  owner: Owner;
  /** The owner's next one. */
  next: Entry | undefined;
}

interface Owner {
  key: string;
  count: number;
  oldest: Entry;
  newest: Entry;
}

/** What has ended, in bounded number. Beyond that the oldest of those is forgotten early who have more than an equal share. */
export class Ended {
  readonly #most: number;
  readonly #owners = new Map<string, Owner>();
  /** In the order of their ends; those that were forgotten early stay in it for a while. */
  #queue: Entry[] = [];
  #first = 0;
  #count = 0;
  /** Forgotten before their time because there were too many. */
  forgottenEarly = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get count(): number {
    return this.#count;
  }

  /** @param key whose it is */
  add(key: string, atMs: number, forget: Forget): void {
    const owner = this.#append(key, atMs, forget);
    while (this.#count > this.#most) {
      this.forgottenEarly += 1;
      this.#forget(this.#whoHasTooMuch(owner).oldest, true);
    }
  }

  /** Forgets what ended until then. Cheap when there is nothing to do. */
  sweep(untilMs: number): void {
    for (let oldest = this.#queue[this.#first]; oldest !== undefined; oldest = this.#queue[this.#first]) {
      if (oldest.forget !== undefined && oldest.atMs > untilMs) break;
      this.#first += 1;
      if (oldest.forget !== undefined) this.#forget(oldest, false);
    }
    this.#tidy();
  }

  #append(key: string, atMs: number, forget: Forget): Owner {
    const entry = { atMs, forget, next: undefined } as Omit<Entry, 'owner'> as Entry;
    const owner = this.#owners.get(key) ?? { key, count: 0, oldest: entry, newest: entry };
    this.#owners.set(key, owner);
    entry.owner = owner;
    if (owner.count > 0) owner.newest.next = entry;
    owner.newest = entry;
    owner.count += 1;
    this.#count += 1;
    this.#queue.push(entry);
    this.#tidy();
    return owner;
  }

  /** Whoever adds gives up their own, so that a flood costs no search; below their share they take from who has most. */
  #whoHasTooMuch(adding: Owner): Owner {
    if (adding.count * this.#owners.size > this.#most) return adding;
    let most = adding;
    for (const owner of this.#owners.values()) if (owner.count > most.count) most = owner;
    return most;
  }

  /** It is its owner's oldest: both are in the order of their ends. */
  #forget(entry: Entry, isEarly: boolean): void {
    const { owner, forget, next } = entry;
    entry.forget = undefined;
    owner.count -= 1;
    this.#count -= 1;
    if (next === undefined) this.#owners.delete(owner.key);
    else owner.oldest = next;
    forget?.(entry.atMs, isEarly);
  }

  #tidy(): void {
    if (this.#queue.length <= 2 * this.#count + 1024) return;
    this.#queue = this.#queue.filter(({ forget }) => forget !== undefined);
    this.#first = 0;
  }
}

/** Which part of a recording a record goes to: its pod's own share, the part for what is over it, or none. */
export type Lane = 'share' | 'excess' | 'cut';

export interface SharesOptions {
  /** What all shares together may hold. */
  budgetBytes: number;
  /** In which a share fills again. */
  ageMs: number;
  /** Records a second of one pod that may go over its share. */
  excessPerSecond: number;
  /** A node is taken to have at least so many pods. */
  leastPods?: number;
}

interface Bucket {
  bytes: number;
  excess: number;
  atMs: number;
}

const LEAST_PODS = 16;

/**
 * A share of the budget for each pod. Half of a pod's part can be spent at once and half comes back over the age, so that within it nobody spends more
 * than their part, and what is recorded within shares is never pushed out by others. What is over a share has a part of its own, at a bounded rate.
 */
export class Shares {
  readonly #options: SharesOptions;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: SharesOptions) {
    this.#options = options;
  }

  /** Charges a record of so many bytes on disk to whom it is about. */
  charge(owner: string, bytes: number, nowMs: number): Lane {
    const { budgetBytes, ageMs, excessPerSecond, leastPods = LEAST_PODS } = this.#options;
    const full = budgetBytes / (2 * Math.max(leastPods, this.#buckets.size));
    const bucket = this.#buckets.get(owner) ?? { bytes: full, excess: excessPerSecond, atMs: nowMs };
    this.#buckets.set(owner, bucket);
    const passedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.bytes = Math.min(full, bucket.bytes + (passedMs * full) / ageMs);
    bucket.excess = Math.min(excessPerSecond, bucket.excess + (passedMs * excessPerSecond) / 1000);
    bucket.atMs = nowMs;
    if (bucket.bytes >= bytes) {
      bucket.bytes -= bytes;
      return 'share';
    }
    if (bucket.excess < 1) return 'cut';
    bucket.excess -= 1;
    return 'excess';
  }

  /** Forgets who has not been charged for the age. */
  forget(nowMs: number): void {
    for (const [owner, { atMs }] of this.#buckets) if (nowMs - atMs > this.#options.ageMs) this.#buckets.delete(owner);
  }
}

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
  chargedMs: number;
  /** What each peer may still spend of it. */
  peers: Map<string, { bytes: number; atMs: number }> | undefined;
}

const LEAST_PODS = 16;
/** Most peers of a pod that are told apart; more are one. */
const MOST_PEERS = 64;
const OTHER_PEERS = '';

/**
 * A share of the budget for each pod. Half of a pod's part can be spent at once and half comes back over the age, so that within it nobody spends more
 * than their part, and what is recorded within shares is never pushed out by others. Who comes gets of each what its share becomes smaller by: so they begin
 * with what the others have left on average, and all together stay within the budget however many come and go. What others begin with a pod is charged to
 * it; one of them can spend half of its share at most. What is over a share has a part of its own, at a bounded rate.
 */
export class Shares {
  readonly #options: SharesOptions;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: SharesOptions) {
    this.#options = options;
  }

  /** Charges a record of so many bytes on disk to whom it is about. `peer`: who began it, where that is somebody else; '' is all who cannot be told apart. */
  charge(owner: string, bytes: number, nowMs: number, peer?: string): Lane {
    const bucket = this.#buckets.get(owner) ?? this.#begin(owner, nowMs);
    this.#fill(bucket, nowMs);
    bucket.chargedMs = nowMs;
    const ofPeer = peer === undefined ? undefined : this.#peer(bucket, peer, nowMs);
    if (bucket.bytes >= bytes && (ofPeer === undefined || ofPeer.bytes >= bytes)) {
      bucket.bytes -= bytes;
      if (ofPeer !== undefined) ofPeer.bytes -= bytes;
      return 'share';
    }
    if (bucket.excess < 1) return 'cut';
    bucket.excess -= 1;
    return 'excess';
  }

  /** Forgets who has not been charged for the age. */
  forget(nowMs: number): void {
    const { ageMs } = this.#options;
    for (const [owner, { chargedMs, peers }] of this.#buckets) {
      if (nowMs - chargedMs > ageMs) this.#buckets.delete(owner);
      else for (const [peer, { atMs }] of peers ?? []) if (nowMs - atMs > ageMs) peers?.delete(peer);
    }
  }

  /** What one pod can spend at once. */
  get #full(): number {
    return this.#options.budgetBytes / (2 * this.#pods(0));
  }

  /** Into how many shares the budget is divided where so many more come. */
  #pods(more: number): number {
    return Math.max(this.#options.leastPods ?? LEAST_PODS, this.#buckets.size + more);
  }

  /** Rare, so that all may be looked at. */
  #begin(owner: string, nowMs: number): Bucket {
    const [full, kept] = [this.#full, this.#pods(0) / this.#pods(1)];
    let given = kept === 1 ? full : 0;
    for (const one of this.#buckets.values()) {
      this.#fill(one, nowMs);
      given += one.bytes * (1 - kept);
      one.bytes *= kept;
    }
    const { excessPerSecond: excess } = this.#options;
    const bucket: Bucket = { bytes: given, excess, atMs: nowMs, chargedMs: nowMs, peers: undefined };
    this.#buckets.set(owner, bucket);
    return bucket;
  }

  #fill(bucket: Bucket, nowMs: number): void {
    const { ageMs, excessPerSecond } = this.#options;
    const passedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.bytes = Math.min(this.#full, bucket.bytes + (passedMs * this.#full) / ageMs);
    bucket.excess = Math.min(excessPerSecond, bucket.excess + (passedMs * excessPerSecond) / 1000);
    bucket.atMs = nowMs;
  }

  #peer(bucket: Bucket, name: string, nowMs: number): { bytes: number } {
    const most = this.#full / 2;
    bucket.peers ??= new Map();
    const { peers } = bucket;
    const key = peers.has(name) || peers.size < MOST_PEERS ? name : OTHER_PEERS;
    const peer = peers.get(key) ?? { bytes: most, atMs: nowMs };
    peers.set(key, peer);
    peer.bytes = Math.min(most, peer.bytes + (Math.max(0, nowMs - peer.atMs) * most) / this.#options.ageMs);
    peer.atMs = nowMs;
    return peer;
  }
}

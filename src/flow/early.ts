import type { Sighting } from '../event/sighting.ts';
import { fingerprintOf } from './fingerprint.ts';

/** A packet that the node sends is seen at its first interface within this time after NAT; one that is emitted late came in within this time before it. */
const WITHIN_NS = 100_000_000n;

/**
 * NAT rewrites, and confirmations of conntrack entries, of packets that were not seen at an interface yet: packets of the kernel and of the node's processes
 * pass NAT before their first hop. Bounded; the oldest is forgotten first.
 */
export class EarlyRewrites {
  readonly #recent: { sighting: Sighting; fingerprint: number }[] = [];
  readonly #limit: number;

  constructor(limit = 256) {
    this.#limit = limit;
  }

  /** Gives how many were forgotten to make room. */
  note(sighting: Sighting, fingerprint = fingerprintOf(sighting)): number {
    this.#recent.push({ sighting, fingerprint });
    if (this.#recent.length <= this.#limit) return 0;
    this.#recent.shift();
    return 1;
  }

  /** Takes out those of a packet that is seen at an interface for the first time, in order of time. */
  take(first: Sighting, fingerprint: number): Sighting[] {
    if (this.#recent.length === 0) return [];
    const isOf = ({ sighting, fingerprint: other }: { sighting: Sighting; fingerprint: number }) =>
      other === fingerprint &&
      sighting.skb === first.skb &&
      first.timeNs - sighting.timeNs <= WITHIN_NS &&
      sighting.timeNs - first.timeNs <= WITHIN_NS;
    const taken = this.#recent.filter(isOf);
    for (const one of taken) this.#recent.splice(this.#recent.indexOf(one), 1);
    return taken.map(({ sighting }) => sighting);
  }
}

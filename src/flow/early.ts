import type { Sighting } from '../event/sighting.ts';
import { fingerprintOf } from './fingerprint.ts';

/** A packet that the kernel itself sends is at its first interface this soon after NAT. */
const WITHIN_NS = 100_000_000n;

/**
 * Rewrites of packets that no interface has shown yet, and their connections' entries into conntrack's table: the kernel's own and the node's processes'
 * packets pass NAT before their first hop. Bounded; the
 * oldest is forgotten first.
 */
export class EarlyRewrites {
  readonly #recent: { sighting: Sighting; fingerprint: number }[] = [];
  readonly #limit: number;

  constructor(limit = 256) {
    this.#limit = limit;
  }

  /** Gives how many were forgotten for it. */
  note(sighting: Sighting, fingerprint = fingerprintOf(sighting)): number {
    this.#recent.push({ sighting, fingerprint });
    if (this.#recent.length <= this.#limit) return 0;
    this.#recent.shift();
    return 1;
  }

  /** Those of a packet that is seen at an interface for the first time, taken out, in their order. */
  take(first: Sighting, fingerprint: number): Sighting[] {
    if (this.#recent.length === 0) return [];
    const isOf = ({ sighting, fingerprint: other }: { sighting: Sighting; fingerprint: number }) =>
      other === fingerprint &&
      sighting.skb === first.skb &&
      first.timeNs >= sighting.timeNs &&
      first.timeNs - sighting.timeNs <= WITHIN_NS;
    const taken = this.#recent.filter(isOf);
    for (const one of taken) this.#recent.splice(this.#recent.indexOf(one), 1);
    return taken.map(({ sighting }) => sighting);
  }
}

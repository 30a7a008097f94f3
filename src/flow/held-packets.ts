import type { OpenPacket } from './open-packet.ts';

/** Told packets in the order they were told. Their size is bounded by their sightings: a packet has one, or dozens where it is copied. */
export class HeldPackets {
  readonly #sightings = new Map<OpenPacket, number>();
  sightings = 0;

  get size(): number {
    return this.#sightings.size;
  }

  get oldest(): OpenPacket | undefined {
    return this.#sightings.keys().next().value;
  }

  /** The oldest first. */
  [Symbol.iterator](): Iterator<OpenPacket> {
    return this.#sightings.keys();
  }

  add(packet: OpenPacket): void {
    const count = sightingsOf(packet);
    this.#sightings.set(packet, count);
    this.sightings += count;
  }

  delete(packet: OpenPacket): void {
    this.sightings -= this.#sightings.get(packet) ?? 0;
    this.#sightings.delete(packet);
  }
}

export function sightingsOf({ sightings, stack }: OpenPacket): number {
  return sightings.length + stack.length;
}

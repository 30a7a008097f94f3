/** What a packet knows of the list that it is in. */
export interface Listed<P extends Listed<P>> {
  list: PacketList<P> | undefined;
  before: P | undefined;
  after: P | undefined;
  /** How many sightings it counts for there. */
  listedSightings: number;
}

/**
 * Packets in the order in which they were put in; a packet is in one list at most. Linked through the packets themselves: whatever number of them comes
 * and goes, the oldest is found and any is taken out at once. A `Map` walks over what was deleted from it to find its oldest.
 * Its size is bounded by the packets' sightings: a packet has one, or dozens where it is copied.
 */
export class PacketList<P extends Listed<P>> {
  size = 0;
  sightings = 0;
  oldest: P | undefined;
  #newest: P | undefined;

  /** Puts a packet at the end, out of the list that it is in. */
  add(packet: P, sightings: number): void {
    packet.list?.delete(packet);
    packet.list = this;
    packet.listedSightings = sightings;
    packet.before = this.#newest;
    if (this.#newest === undefined) this.oldest = packet;
    else this.#newest.after = packet;
    this.#newest = packet;
    this.size += 1;
    this.sightings += sightings;
  }

  /** Of a packet in another list nothing happens. */
  delete(packet: P): void {
    if (packet.list !== this) return;
    const { before, after } = packet;
    if (before === undefined) this.oldest = after;
    else before.after = after;
    if (after === undefined) this.#newest = before;
    else after.before = before;
    packet.list = undefined;
    packet.before = undefined;
    packet.after = undefined;
    this.size -= 1;
    this.sightings -= packet.listedSightings;
  }
}

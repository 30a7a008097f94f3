import type { Part } from './part.ts';

/** A packet as known so far: its parts in the order it went. */
export interface Packet {
  /** That of the record first told, else of the first part. */
  id: string;
  parts: Part[];
  /** Has it been told to the reader? */
  isTold: boolean;
  /** Decided not to be told: the filter does not match what is known of it. */
  isFiltered: boolean;
  /** Among those that the filter does not match: it reads bytes that were not captured. */
  isUndecided: boolean;
  /** How many of its parts, but for one, have been counted as joined. */
  countedJoined: number;
  /** Packets that were counted as filtered and have become part of this one. */
  absorbed: number;
  absorbedUndecided: number;
}

export interface JoinOptions {
  /** How long a packet may be on the wire between two nodes, beyond what their clocks are uncertain by. */
  windowNs: number;
  /** Parts this near, beyond the clocks' uncertainty, belong together without waiting for a nearer one. */
  sureNs: number;
}

export const JOIN_DEFAULTS: JoinOptions = { windowNs: 250e6, sureNs: 20e6 };

/** Packets without an id of their own (identical datagrams) that wait for a neighbour at one time; the oldest goes without. */
const MAX_ALIKE = 64;

/**
 * Joins the parts of packets: what leaves one node and what enters another, when fingerprint, protocol and addresses on the wire are the
 * same, within a time that clocks and wires allow. The nearest in time wins; no part has two neighbours on a side.
 * Knows no clock: who calls says when a packet's time to wait is over.
 */
export class Joiner {
  readonly #options: JoinOptions;
  /** Parts that wait for what comes after them, or before. */
  readonly #leaving = new Map<string, Part[]>();
  readonly #entering = new Map<string, Part[]>();
  readonly #packets = new Map<Part, Packet>();

  constructor(options: JoinOptions = JOIN_DEFAULTS) {
    this.#options = options;
  }

  /** Takes a part in. Gives its packet, joined already with every neighbour that is surely its own. */
  add(part: Part): Packet {
    const packet: Packet = {
      id: part.event.id,
      parts: [part],
      isTold: false,
      isFiltered: false,
      isUndecided: false,
      countedJoined: 0,
      absorbed: 0,
      absorbedUndecided: 0,
    };
    this.#packets.set(part, packet);
    this.#index(part);
    return this.#joinNear(part, this.#options.sureNs);
  }

  /** The same part, told again by its node. */
  replace(old: Part, part: Part): Packet {
    const packet = this.#packets.get(old);
    if (packet === undefined) return this.add(part);
    const at = packet.parts.indexOf(old);
    this.#unindex(old);
    this.#packets.delete(old);
    packet.parts[at] = part;
    this.#packets.set(part, packet);
    this.#index(part, { entry: at === 0, exit: at === packet.parts.length - 1 });
    return this.#joinNear(part, this.#options.sureNs);
  }

  /** Its time is over: joins it with the nearest neighbours that are possible at all. */
  settle(packet: Packet): Packet {
    let joined = packet;
    for (const part of [packet.parts[0], packet.parts.at(-1)]) {
      if (part !== undefined) joined = this.#joinNear(part, this.#options.windowNs);
    }
    return joined;
  }

  packetOf(part: Part): Packet | undefined {
    return this.#packets.get(part);
  }

  /** Forgets a packet: nothing is joined to it any more. */
  forget(packet: Packet): void {
    for (const part of packet.parts) {
      this.#unindex(part);
      this.#packets.delete(part);
    }
  }

  #joinNear(part: Part, withinNs: number): Packet {
    const before = this.#nearest(
      this.#leaving.get(part.entryKey),
      part,
      (other) => gapNs(other, part),
      withinNs,
      this.#waits(this.#entering, part.entryKey, part),
    );
    if (before !== undefined) this.#link(before, part);
    const after = this.#nearest(
      this.#entering.get(part.exitKey),
      part,
      (other) => gapNs(part, other),
      withinNs,
      this.#waits(this.#leaving, part.exitKey, part),
    );
    if (after !== undefined) this.#link(part, after);
    return this.#packets.get(part) as Packet;
  }

  #waits(index: Map<string, Part[]>, key: string, part: Part): boolean {
    return index.get(key)?.includes(part) ?? false;
  }

  #nearest(
    candidates: Part[] | undefined,
    part: Part,
    gap: (other: Part) => number,
    withinNs: number,
    isOpen: boolean,
  ): Part | undefined {
    if (candidates === undefined || !isOpen) return undefined;
    const own = this.#packets.get(part);
    let nearest: Part | undefined;
    let nearestGap = Number.POSITIVE_INFINITY;
    for (const other of candidates) {
      const packet = this.#packets.get(other);
      if (other.node === part.node || packet === own || (packet?.isTold === true && own?.isTold === true)) continue;
      const uncertainty = other.uncertaintyNs + part.uncertaintyNs;
      const apart = gap(other);
      if (apart < -uncertainty || apart > withinNs + uncertainty || Math.abs(apart) >= nearestGap) continue;
      nearest = other;
      nearestGap = Math.abs(apart);
    }
    return nearest;
  }

  #link(before: Part, after: Part): void {
    const head = this.#packets.get(before) as Packet;
    const tail = this.#packets.get(after) as Packet;
    remove(this.#leaving, before.exitKey, before);
    remove(this.#entering, after.entryKey, after);
    // The told one lives on, whatever its place: its id is what the reader knows.
    const [kept, gone] = tail.isTold ? [tail, head] : [head, tail];
    kept.parts = [...head.parts, ...tail.parts];
    kept.countedJoined += gone.countedJoined;
    kept.absorbed += gone.absorbed + (gone.isFiltered ? 1 : 0);
    kept.absorbedUndecided += gone.absorbedUndecided + (gone.isUndecided ? 1 : 0);
    for (const part of gone.parts) this.#packets.set(part, kept);
    gone.parts = [];
  }

  #index(part: Part, open = { entry: true, exit: true }): void {
    if (part.hasEntry && open.entry) push(this.#entering, part.entryKey, part);
    if (part.hasExit && open.exit) push(this.#leaving, part.exitKey, part);
  }

  #unindex(part: Part): void {
    remove(this.#entering, part.entryKey, part);
    remove(this.#leaving, part.exitKey, part);
  }
}

function gapNs(before: Part, after: Part): number {
  return after.firstNs - before.lastNs;
}

function push(index: Map<string, Part[]>, key: string, part: Part): void {
  const parts = index.get(key);
  if (parts === undefined) index.set(key, [part]);
  else {
    parts.push(part);
    if (parts.length > MAX_ALIKE) parts.shift();
  }
}

function remove(index: Map<string, Part[]>, key: string, part: Part): void {
  const parts = index.get(key);
  const at = parts?.indexOf(part) ?? -1;
  if (parts === undefined || at < 0) return;
  if (parts.length === 1) index.delete(key);
  else parts.splice(at, 1);
}

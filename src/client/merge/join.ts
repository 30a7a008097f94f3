import { Packet, type Part } from './packet.ts';

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

  constructor(options: JoinOptions = JOIN_DEFAULTS) {
    this.#options = options;
  }

  /** Takes a part in. Gives its packet, joined already with every neighbour that is surely its own. */
  add(part: Part): Packet {
    new Packet(part);
    this.#index(part);
    return this.#joinNear(part, this.#options.sureNs);
  }

  /** The same part, told again by its node. */
  replace(old: Part, part: Part): Packet {
    const { packet } = old;
    if (packet === undefined) return this.add(part);
    this.#unindex(old);
    const at = packet.replace(old, part);
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

  /** Forgets a packet: nothing is joined to it any more. */
  forget(packet: Packet): void {
    for (const part of packet.parts) {
      this.#unindex(part);
      part.packet = undefined;
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
    return part.packet as Packet;
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
    const own = part.packet;
    let nearest: Part | undefined;
    let nearestGap = Number.POSITIVE_INFINITY;
    for (const other of candidates) {
      const { packet } = other;
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
    const head = before.packet as Packet;
    const tail = after.packet as Packet;
    remove(this.#leaving, before.exitKey, before);
    remove(this.#entering, after.entryKey, after);
    // The told one lives on, whatever its place: its id is what the reader knows.
    if (tail.isTold) tail.absorb(head, false);
    else head.absorb(tail, true);
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

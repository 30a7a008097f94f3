import type { Endpoint, Hop, PacketEvent } from '../../event/types.ts';

/** What one node tells of a packet. Times are nanoseconds on the follow's timeline, clocks' offsets taken out. */
export interface Part {
  node: string;
  event: PacketEvent;
  firstNs: number;
  lastNs: number;
  /** What was taken from the node's own clock to come onto the timeline. */
  offsetNs: number;
  /** What the clock's offset may still be wrong by. */
  uncertaintyNs: number;
  /** How the packet came to this node, and how it left: equal on both ends of a wire. */
  entryKey: string;
  exitKey: string;
  /** May another node's part come before, or after? */
  hasEntry: boolean;
  hasExit: boolean;
  /** What it is a part of; undefined before it is taken in, and when that is forgotten. */
  packet: Packet | undefined;
}

/** Waits in the queue to be told. */
export interface Waiting {
  /** Its place in the order. */
  sortNs: number;
  dueMs: number;
  arrivedMs: number;
  /** Whose records wait with it: each is a credit to be given back. */
  nodes: string[];
}

/** A packet as known so far: its parts in the order it went, and what has become of it. */
export class Packet {
  /** That of the record first told, else of the first part. */
  readonly id: string;
  /** None: it has become part of another one. */
  parts: Part[];
  waiting: Waiting | undefined;
  /** Has it been told to the reader? */
  isTold = false;
  /** Decided not to be told: the filter does not match what is known of it. */
  isFiltered = false;
  /** Among those that the filter does not match: it reads bytes that were not captured. */
  isUndecided = false;
  /** Until then it is told again when more is known. */
  retainedUntilMs = 0;
  /** How many of its parts, but for one, have been counted as joined. */
  countedJoined = 0;
  /** Packets that were counted as filtered and have become part of this one. */
  absorbed = 0;
  absorbedUndecided = 0;

  constructor(part: Part) {
    this.id = part.event.id;
    this.parts = [part];
    part.packet = this;
  }

  /** The same part, told again by its node; gives its place. */
  replace(old: Part, part: Part): number {
    const at = this.parts.indexOf(old);
    this.parts[at] = part;
    part.packet = this;
    old.packet = undefined;
    return at;
  }

  /** Takes everything of another one but its place in the queue, where its records' credits wait. `isBehind`: where the other's parts go. */
  absorb(other: Packet, isBehind: boolean): void {
    for (const part of other.parts) part.packet = this;
    this.parts = isBehind ? [...this.parts, ...other.parts] : [...other.parts, ...this.parts];
    other.parts = [];
    this.countedJoined += other.countedJoined;
    this.absorbed += other.absorbed + (other.isFiltered ? 1 : 0);
    this.absorbedUndecided += other.absorbedUndecided + (other.isUndecided ? 1 : 0);
  }
}

/** Reads a node's record as a part; `timeNs` is on the follow's timeline. */
export function partOf(event: PacketEvent, node: string, timeNs: number, offsetNs: number, uncertaintyNs: number): Part {
  const first = event.hops[0];
  const last = event.hops.at(-1);
  const exit = exitTuple(event);
  return {
    node,
    event,
    firstNs: timeNs + (first?.atNs ?? 0),
    lastNs: timeNs + (last?.atNs ?? 0),
    offsetNs,
    uncertaintyNs,
    entryKey: wireKey(event, event.src, event.dst),
    exitKey: wireKey(event, exit.src, exit.dst),
    hasEntry: first?.dir === 'in' && (first.tunnel !== undefined || event.src.pod?.node !== node),
    hasExit: last?.dir === 'out' && (event.verdict === 'forwarded' || event.verdict === 'unknown'),
    packet: undefined,
  };
}

/** Source and destination as the packet leaves the node: its own, after everything this node translated. */
export function exitTuple(event: Pick<PacketEvent, 'src' | 'dst' | 'dir' | 'nat'>): { src: Endpoint; dst: Endpoint } {
  let { src, dst } = event;
  for (const { kind, after } of event.nat ?? []) {
    // A reply's source is what the request's destination was rewritten to, on its way back.
    if ((kind === 'dnat') === (event.dir === 'request')) dst = after;
    else src = after;
  }
  return { src, dst };
}

/** A hop's other end of the tunnel: where the packet went, or came from. */
export function tunnelPeer(hop: Hop): string | undefined {
  return hop.dir === 'out' ? hop.tunnel?.dst : hop.tunnel?.src;
}

function wireKey(event: PacketEvent, src: Endpoint, dst: Endpoint): string {
  return `${event.fingerprint} ${event.proto} ${src.ip} ${src.port ?? ''} ${dst.ip} ${dst.port ?? ''}`;
}

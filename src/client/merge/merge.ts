import type { FlowEvent, KtraceEvent, PacketEvent } from '../../event/types.ts';
import type { ClockEstimate } from '../wire/clock.ts';
import { compose } from './compose.ts';
import { Expectations } from './expect.ts';
import { FlowOwners } from './flow-owners.ts';
import { HoldTime } from './hold-time.ts';
import { nsSince, timeFrom } from './instant.ts';
import { JOIN_DEFAULTS, Joiner } from './join.ts';
import { type Packet, type Part, partOf, type Waiting } from './packet.ts';
import { TimeQueue } from './time-queue.ts';

export interface MergeOptions {
  /** Unix milliseconds that times are counted from. */
  epochMs: number;
  /** An event is held this long, for an earlier one of another node, and longer where those have lately come later. */
  holdMs: number;
  /** An event is held this long at most, unless it waits for another node's part. */
  mostHoldMs: number;
  /** A packet that visibly goes on to, or came from, another followed node is held this long for that node's part. */
  joinMs: number;
  /** A told packet can be told again, with more known, for this long. */
  retainMs: number;
  /** Packets remembered at most, and events held at most; beyond, the oldest is forgotten or told at once. */
  maxPackets: number;
  /** Does the node tell what it sees? With times, in Unix milliseconds: all the time between them; where that is not known beforehand they say nothing. */
  isFollowed(node: string, fromMs?: number, toMs?: number): boolean;
  /** Whether a record is shown, by what the nodes' parts of it say to the filter. */
  decide(judged: readonly (string | undefined)[]): 'match' | 'mismatch' | 'beyond';
  /** The event to show. */
  tell(event: KtraceEvent): void;
  /** A packet went from one node to another: how much later it came than it left, by the nodes' own clocks. */
  crossed(from: string, to: string, gapMs: number): void;
  /** One record of the node has been told, or has become part of what was. */
  consumed(node: string): void;
}

export const MERGE_DEFAULTS = { holdMs: 35, mostHoldMs: 150, joinMs: 200, retainMs: 10_000, maxPackets: 50_000 };

/** What became of the records that came in: `captured = told + joined + duplicates + amended + filtered + invalid`, and what is held still. */
export interface MergeCounts {
  captured: number;
  /** Of packets and flows, and what is told of the tracing itself. */
  told: number;
  packets: number;
  flows: number;
  /** Became part of a record with another node's. */
  joined: number;
  /** A conversation or packet that another node told already. */
  duplicates: number;
  /** Told again with more known; not counted as told. */
  amended: number;
  /** Not shown because of the filter; `undecided` ones among them because it reads bytes that the packet has and that were not captured. */
  filtered: number;
  undecided: number;
  /** Without the fields, or with times, that this version reads. */
  invalid: number;
}

/** What another node tells of a conversation waits so long for its source's node, or as long as all is held where that is longer. */
const DEFER_MS = 1000;

interface Held extends Waiting {
  what: { packet: Packet } | { flow: FlowEvent; node: string };
  /** How long records were held for others when it came. */
  heldMs: number;
}

/**
 * Brings the nodes' records into one order by time, and the parts of a packet into one record. A silent node delays nobody: everything is
 * told when its own time to wait is over. Time is given by the caller, in milliseconds of any steady clock.
 */
export class Merge {
  readonly counts: MergeCounts = {
    captured: 0,
    told: 0,
    packets: 0,
    flows: 0,
    joined: 0,
    duplicates: 0,
    amended: 0,
    filtered: 0,
    undecided: 0,
    invalid: 0,
  };
  /** Up to where the filter reads the undecided ones, from the IP header on. */
  wantsBytes = 0;
  readonly #options: MergeOptions;
  readonly #joiner = new Joiner(JOIN_DEFAULTS);
  readonly #queue = new TimeQueue<Held>();
  readonly #holdTime: HoldTime;
  /** Packets in the queue. */
  #heldPackets = 0;
  readonly #flowOwners: FlowOwners;
  readonly #deferredFlows: { event: FlowEvent; node: string; dueMs: number }[] = [];
  readonly #expectations: Expectations;
  /** By node and its own id, and by what was seen where. */
  readonly #byId = new Map<string, Part>();
  readonly #bySight = new Map<string, Part>();
  /** Told and filtered packets, in the order they are forgotten. */
  readonly #told = new Set<Packet>();

  constructor(options: MergeOptions) {
    this.#options = options;
    this.#expectations = new Expectations((node) => options.isFollowed(node));
    this.#flowOwners = new FlowOwners(options.isFollowed);
    this.#holdTime = new HoldTime(options.holdMs, options.mostHoldMs);
  }

  /** Takes in one record of a node. `correction` brings the node's times onto the common timeline. */
  add(node: string, event: KtraceEvent, correction: ClockEstimate, nowMs: number): void {
    this.counts.captured++;
    if (event.kind === 'packet') this.#addPacket(node, event, correction, nowMs);
    else if (event.kind === 'flow') this.#addFlow(node, event, correction, nowMs);
    else {
      this.#options.tell(event);
      this.counts.told++;
      this.#options.consumed(node);
    }
  }

  /** So many records of a node came in that cannot be read. */
  unreadable(count: number): void {
    this.counts.captured += count;
    this.counts.invalid += count;
  }

  /** When {@link Merge.release} has something to do next; undefined: nothing is held. */
  nextDueMs(): number | undefined {
    const first = this.#queue.first();
    const deferred = this.#deferredFlows[0]?.dueMs;
    if (first === undefined) return deferred;
    return Math.min(first.dueMs, deferred ?? Number.POSITIVE_INFINITY);
  }

  /** Packets that wait, or became part of another one since the last {@link Merge.release}. */
  get heldPackets(): number {
    return this.#heldPackets;
  }

  /** Tells what has waited long enough, in order of time; with `everything`, all there is. */
  release(nowMs: number, everything = false): void {
    while (this.#deferredFlows.length > 0 && (everything || (this.#deferredFlows[0]?.dueMs ?? 0) <= nowMs)) {
      const { event, node } = this.#deferredFlows.shift() as { event: FlowEvent; node: string };
      this.#hold({ flow: event, node }, this.#ns(event.endTime), nowMs, Math.max(0, this.#options.holdMs - DEFER_MS), node);
    }
    for (let first = this.#queue.first(); first !== undefined; first = this.#queue.first()) {
      const isGone = 'packet' in first.what && first.what.packet.parts.length === 0;
      if (!everything && !isGone && first.dueMs > nowMs && this.#queue.size <= this.#options.maxPackets) break;
      this.#queue.shift();
      if ('flow' in first.what) this.#tellFlow(first.what.flow, first.what.node);
      else {
        this.#heldPackets--;
        first.what.packet.waiting = undefined;
        if (!isGone) {
          this.#holdTime.told(first, nowMs);
          this.#tellPacket(first.what.packet, nowMs);
        }
      }
      for (const node of first.nodes) this.#options.consumed(node);
    }
    this.#forgetOld(nowMs);
  }

  #addPacket(node: string, told: PacketEvent, correction: ClockEstimate, nowMs: number): void {
    const timeNs = this.#ns(told.time) - correction.offsetMs * 1e6;
    const idKey = `${node} ${told.id}`;
    const known = this.#byId.get(idKey);
    const event =
      correction.offsetMs === 0 ? { ...told } : { ...told, time: timeFrom(this.#options.epochMs, Math.round(timeNs)) };
    // What it amends waits still (both came late, together): for the reader it is the first telling.
    // What it amends was not told by the agent, as the filter did not match it then.
    if (known === undefined && event.judged !== undefined) delete event.amends;
    if (known !== undefined && known.event.amends !== true && known.packet?.isTold === false) delete event.amends;
    const part = partOf(event, node, timeNs, correction.offsetMs * 1e6, correction.uncertaintyMs * 1e6);
    this.#expectations.learn(part);
    if (known === undefined && this.#isDuplicate(part)) {
      this.counts.duplicates++;
      this.#options.consumed(node);
      return;
    }
    if (known !== undefined) this.#forgetSight(known);
    this.#byId.set(idKey, part);
    this.#bySight.set(sightKey(part), part);
    const packet = known === undefined ? this.#joiner.add(part) : this.#joiner.replace(known, part);
    if (known !== undefined) this.counts.amended++;
    if (event.unanswered !== undefined && isKnownFate(packet, part)) {
      if (known === undefined) this.#countJoined(packet);
      this.#options.consumed(node);
      return;
    }
    this.#wait(packet, part, nowMs);
  }

  #wait(packet: Packet, part: Part, nowMs: number): void {
    const isNew = packet.parts.length === 1 && !packet.isTold && part.event.amends !== true;
    if (isNew) this.#holdTime.came(part.firstNs, nowMs);
    const waitMs = this.#expectations.isIncomplete(packet.parts) ? this.#options.joinMs : this.#holdTime.at(nowMs);
    const { waiting } = packet;
    if (waiting !== undefined) {
      waiting.dueMs = waiting.arrivedMs + waitMs;
      waiting.nodes.push(part.node);
      return;
    }
    const first = packet.parts[0] ?? part;
    packet.waiting = this.#hold({ packet }, first.firstNs, nowMs, waitMs, part.node);
    this.#heldPackets++;
  }

  #hold(what: Held['what'], sortNs: number, nowMs: number, waitMs: number, node: string): Held {
    const held: Held = { what, sortNs, heldMs: this.#holdTime.at(nowMs), arrivedMs: nowMs, dueMs: nowMs + waitMs, nodes: [node] };
    this.#queue.push(held);
    return held;
  }

  #tellPacket(waited: Packet, nowMs: number): void {
    const packet = this.#joiner.settle(waited);
    // Settling may have given it to a packet that still waits itself: that one tells it.
    if (packet !== waited && packet.waiting !== undefined) return;
    this.#expectations.settled(packet.parts);
    this.#tellCrossings(packet.parts);
    this.#countJoined(packet);
    this.counts.filtered -= packet.absorbed;
    packet.absorbed = 0;
    this.counts.undecided -= packet.absorbedUndecided;
    packet.absorbedUndecided = 0;
    packet.retainedUntilMs = nowMs + this.#options.retainMs;
    this.#told.delete(packet);
    this.#told.add(packet);
    // What is shown already is told to its end, also what no longer matches.
    if (!packet.isTold && !this.#isMatched(packet)) return;
    const isAmending = packet.isTold || packet.parts[0]?.event.amends === true;
    const event = compose(packet.parts, packet.id);
    this.#options.tell(isAmending ? { ...event, amends: true } : event);
    if (!packet.isTold && isAmending) this.counts.amended++;
    else if (!packet.isTold) this.#countTold('packets');
    packet.isTold = true;
  }

  #countTold(kind: 'packets' | 'flows'): void {
    this.counts.told++;
    this.counts[kind]++;
  }

  #countJoined(packet: Packet): void {
    this.counts.joined += packet.parts.length - 1 - packet.countedJoined;
    packet.countedJoined = packet.parts.length - 1;
  }

  /** Another node's part may make it match later: it is counted as filtered for as long as none does. */
  #isMatched(packet: Packet): boolean {
    const outcome = this.#options.decide(packet.parts.map(({ event }) => event.judged));
    const isFiltered = outcome !== 'match';
    if (isFiltered !== packet.isFiltered) this.counts.filtered += isFiltered ? 1 : -1;
    packet.isFiltered = isFiltered;
    const wantsBytes = Math.max(0, ...packet.parts.map(({ event }) => event.wantsBytes ?? 0));
    const isUndecided = outcome === 'beyond' && wantsBytes > 0;
    if (isUndecided !== packet.isUndecided) this.counts.undecided += isUndecided ? 1 : -1;
    packet.isUndecided = isUndecided;
    if (isUndecided) this.wantsBytes = Math.max(this.wantsBytes, wantsBytes);
    return !isFiltered;
  }

  #tellCrossings(parts: readonly Part[]): void {
    for (const [index, after] of parts.entries()) {
      const before = parts[index - 1];
      if (before === undefined) continue;
      const gapNs = after.firstNs + after.offsetNs - before.lastNs - before.offsetNs;
      this.#options.crossed(before.node, after.node, gapNs / 1e6);
    }
  }

  #addFlow(node: string, event: FlowEvent, correction: ClockEstimate, nowMs: number): void {
    const shift = correction.offsetMs * 1e6;
    const endNs = this.#ns(event.endTime) - shift;
    const startNs = this.#ns(event.startTime) - shift;
    const { epochMs, isFollowed } = this.#options;
    this.#flowOwners.learn(event, node);
    const moved =
      shift === 0
        ? event
        : { ...event, startTime: timeFrom(epochMs, Math.round(startNs)), endTime: timeFrom(epochMs, Math.round(endNs)) };
    const sourceNode = event.src.pod?.node;
    if (sourceNode !== undefined && sourceNode !== node && isFollowed(sourceNode)) {
      this.#deferredFlows.push({ event: moved, node, dueMs: nowMs + DEFER_MS });
      if (this.#deferredFlows.length <= this.#options.maxPackets) return;
      const dropped = this.#deferredFlows.shift() as { node: string };
      this.counts.duplicates++;
      this.#options.consumed(dropped.node);
      return;
    }
    this.#hold({ flow: moved, node }, endNs, nowMs, this.#holdTime.at(nowMs), node);
  }

  #tellFlow(event: FlowEvent, node: string): void {
    const judged = this.#flowOwners.judgedIfShown(event, node);
    if (judged === undefined) {
      this.counts.duplicates++;
      return;
    }
    if (this.#options.decide(judged) !== 'match') {
      this.counts.filtered++;
      return;
    }
    this.#countTold('flows');
    const { judged: _, ...shown } = event;
    this.#options.tell(shown);
  }

  /** The same packet at the same hooks at the same time, told by another agent. */
  #isDuplicate(part: Part): boolean {
    const other = this.#bySight.get(sightKey(part));
    if (other === undefined || other.node === part.node) return false;
    return Math.abs(other.firstNs - part.firstNs) <= other.uncertaintyNs + part.uncertaintyNs + 1e6;
  }

  #forgetSight(part: Part): void {
    const key = sightKey(part);
    if (this.#bySight.get(key) === part) this.#bySight.delete(key);
  }

  #forgetOld(nowMs: number): void {
    for (const packet of this.#told) {
      if (packet.retainedUntilMs > nowMs && this.#told.size <= this.#options.maxPackets) return;
      this.#told.delete(packet);
      if (packet.waiting !== undefined) continue;
      for (const part of packet.parts) {
        this.#byId.delete(`${part.node} ${part.event.id}`);
        this.#forgetSight(part);
      }
      this.#joiner.forget(packet);
    }
  }

  #ns(time: string): number {
    return nsSince(this.#options.epochMs, time);
  }
}

/** Dropped on another node, or without an answer there, too: as was told, or is about to be. */
function isKnownFate({ parts }: Packet, part: Part): boolean {
  return parts.some((other) => other.event.drop !== undefined || (other !== part && other.event.unanswered !== undefined));
}

function sightKey({ event }: Part): string {
  return `${event.fingerprint} ${event.src.ip} ${event.dst.ip} ${event.hops.map((hop) => `${hop.node}/${hop.if}/${hop.dir}`).join(' ')}`;
}

import type { Tuple } from '../event/sighting.ts';
import type { Counts, Endpoint, FlowEvent, PacketEvent, PodRef, Translation } from '../event/types.ts';
import { formatUnixNs } from '../util/time.ts';
import type { AssembledPacket, InterfaceKind } from './open-packet.ts';
import { translatedTuple } from './translation.ts';

/** What one interface has counted of a flow. */
export interface InterfaceCount {
  ifindex: number;
  interfaceKind: InterfaceKind;
  /** Whether it took the packets in, or sent them out. */
  direction: 'in' | 'out';
  packets: number;
  bytes: number;
}

/** One entry of the kernel's flow table, of one direction: the same object as long as the entry is there, brought up to date when the table is read. */
export interface CountedFlow {
  readonly proto: string;
  readonly tuple: Tuple;
  /** Empty when it passed interfaces alone that count nothing. */
  counts: InterfaceCount[];
  lastNs: bigint;
}

/** The kernel's flow table. */
export interface FlowTable {
  /** Reads it: entries that are new, or have counted something since it was read last. */
  changed(): CountedFlow[];
  /** Removes these, and brings them to what they have counted until then. */
  take(entries: readonly CountedFlow[]): void;
}

/** The table, and how its times are to be taken. */
export interface FlowCounting {
  table: FlowTable;
  monotonicNs: bigint;
  realtimeOffsetNs: bigint;
  nowMs: number;
}

/** A flow's event, and what the tracker knows besides. */
export interface TrackedFlow {
  event: FlowEvent;
  timeMs: number;
  /** Pods of its ends that were known by their interfaces. */
  pods: { src?: PodRef; dst?: PodRef };
}

/** The pods behind a packet's first and last interface, where the interface has the address of that end. */
export interface EndPods {
  from?: PodRef | undefined;
  to?: PodRef | undefined;
}

interface Flow {
  id: string;
  proto: string;
  src: Endpoint;
  dst: Endpoint;
  nat: Translation[] | undefined;
  pods: TrackedFlow['pods'];
  keys: Set<string>;
  /** Of the kernel's table. */
  entries: Set<CountedFlow>;
  startNs: bigint;
  endNs: bigint;
  packets: Counts;
  bytes: Counts;
  /** The kernel's table has had an entry for it. */
  isCounted: boolean;
  /** Directions in which a FIN was seen; both after an RST. */
  ended: { request: boolean; reply: boolean };
  toldPackets: number;
  toldMs: number;
  touchedMs: number;
}

export interface FlowTrackerOptions {
  node: string;
  idPrefix: string;
  onFlow(flow: TrackedFlow): void;
  /** Whether the pod behind an interface has this address. */
  isAddressOf?(ifindex: number, ip: string): boolean;
  /** At least so long between two updates of a flow, ms. */
  updateMs?: number;
  /** Without a packet for this long a flow is closed, ms. */
  idleMs?: Record<string, number>;
  limit?: number;
}

const DEFAULT_IDLE_MS: Record<string, number> = { tcp: 120_000, icmp: 10_000, icmp6: 10_000 };
const OTHER_IDLE_MS = 30_000;
/** A datagram and its answer, as of DNS (sent twice at most): nothing more will come, and each takes two to four entries of the kernel's table. */
const ANSWERED_IDLE_MS = 5000;
const ANSWERED_MOST = 2;
/** A connection that was not established: in the first 30 s Linux retransmits a SYN at intervals of at most 16 s. */
const HALF_OPEN_IDLE_MS = 20_000;
/**
 * An entry of the kernel's table that belongs to no flow is removed when no packet was counted for as long as a flow of its protocol may be idle. What no
 * follower's filter takes is in the table, too: what is as short as a question is removed earlier, but not before its packet is assembled.
 */
const STALE_SHORT_MS = 10_000;

/**
 * Packets → flows. An emitted packet opens a flow, and shows its initiator and its translations. The counts come from the kernel's table, which has every
 * packet, and are those of the pod's interface where there is one.
 */
export class FlowTracker {
  readonly counts = { opened: 0, closed: 0, evicted: 0 };
  readonly #options: FlowTrackerOptions;
  readonly #flows = new Map<string, Flow>();
  readonly #all = new Set<Flow>();
  /** Connections that began with a SYN and are not established. With too many flows they are closed first, so that a SYN flood ends no conversation. */
  readonly #halfOpen = new Set<Flow>();
  readonly #owners = new Map<CountedFlow, Flow>();
  /** Entries of no flow that is known, with the name by which one may claim them. */
  readonly #unclaimed = new Map<CountedFlow, string>();
  #serial = 0;

  constructor(options: FlowTrackerOptions) {
    this.#options = options;
  }

  get open(): number {
    return this.#all.size;
  }

  /** Takes a packet that is about to be emitted, and sets its direction where its flow decides that. */
  note(packet: AssembledPacket, nowMs: number, pods: EndPods = {}): void {
    const { event } = packet;
    if (!isCountable(event)) return;
    const keys = keysOf(packet);
    const flow = this.#knownBy(keys) ?? this.#begin(packet, nowMs, pods);
    for (const key of keys) {
      const other = this.#flows.get(key);
      if (other === flow) continue;
      if (other !== undefined) this.#release(other);
      this.#flows.set(key, flow);
      flow.keys.add(key);
    }
    if (event.nat === undefined && event.icmp === undefined) event.dir = isFrom(flow, event.src) ? 'request' : 'reply';
    if (event.nat !== undefined) flow.nat = requestTranslations(event);
    learnPods(flow.pods, pods, event.dir);
    if (event.tcp?.flags.includes('R') === true) flow.ended = { request: true, reply: true };
    if (event.tcp?.flags.includes('F') === true) flow.ended[event.dir] = true;
    if (isSyn(event) && packet.firstNs > flow.startNs) flow.ended = { request: false, reply: false };
    flow.touchedMs = nowMs;
    if (packet.lastNs > flow.endNs) flow.endNs = packet.lastNs;
  }

  /** Takes the kernel's counts, emits updates and ends, and removes entries that are not needed any more. */
  count(counting: FlowCounting): void {
    const { table, monotonicNs, nowMs } = counting;
    this.#read(counting);
    const ending: Flow[] = [];
    for (const flow of this.#all) {
      const idleMs = nowMs - flow.touchedMs;
      const hasEnded = flow.ended.request && flow.ended.reply && idleMs > 1000;
      if (hasEnded || idleMs > this.#idleLimitMs(flow)) ending.push(flow);
      else if (total(flow.packets) !== flow.toldPackets && nowMs - flow.toldMs >= (this.#options.updateMs ?? 10_000))
        this.#tell(flow, 'update', nowMs);
    }
    this.#end(ending, counting);
    const stale = [...this.#unclaimed.keys()].filter((entry) => Number(monotonicNs - entry.lastNs) / 1e6 > staleLimitMs(entry));
    table.take(stale);
    for (const entry of stale) this.#unclaimed.delete(entry);
  }

  /** How many reply packets the flow of an emitted packet had when the counts were taken last; undefined: it is not counted. */
  repliesTo(packet: AssembledPacket): number | undefined {
    const flow = this.#knownBy(keysOf(packet));
    return flow?.isCounted === true ? flow.packets.reply : undefined;
  }

  #knownBy(keys: readonly string[]): Flow | undefined {
    for (const key of keys) {
      const flow = this.#flows.get(key);
      if (flow !== undefined) return flow;
    }
    return undefined;
  }

  /** Closes all flows and emits their ends. With the kernel's table, which is empty afterwards: with their last counts. */
  closeAll(counting?: FlowCounting): void {
    if (counting === undefined) {
      for (const flow of this.#all) this.#close(flow);
      this.#owners.clear();
      this.#unclaimed.clear();
      return;
    }
    this.#read(counting);
    this.#end([...this.#all], counting);
    counting.table.take([...this.#unclaimed.keys()]);
    this.#unclaimed.clear();
  }

  #idleLimitMs(flow: Flow): number {
    const idleMs = this.#options.idleMs?.[flow.proto] ?? DEFAULT_IDLE_MS[flow.proto] ?? OTHER_IDLE_MS;
    const { request, reply } = flow.packets;
    const isAnswered = flow.proto === 'udp' && reply > 0 && request <= ANSWERED_MOST && reply <= ANSWERED_MOST;
    if (isAnswered) return Math.min(idleMs, ANSWERED_IDLE_MS);
    return this.#halfOpen.has(flow) ? Math.min(idleMs, HALF_OPEN_IDLE_MS) : idleMs;
  }

  #begin(packet: AssembledPacket, nowMs: number, pods: EndPods): Flow {
    const { event } = packet;
    this.#serial += 1;
    const initiator = initiatorOf(event);
    const flow: Flow = {
      id: `${this.#options.idPrefix}f${this.#serial.toString(36)}`,
      proto: event.proto,
      src: bare(initiator.src),
      dst: bare(initiator.dst),
      nat: requestTranslations(event),
      pods: {},
      keys: new Set(),
      entries: new Set(),
      startNs: packet.firstNs,
      endNs: packet.lastNs,
      packets: { request: 0, reply: 0 },
      bytes: { request: 0, reply: 0 },
      isCounted: false,
      ended: { request: false, reply: false },
      toldPackets: 0,
      toldMs: nowMs,
      touchedMs: nowMs,
    };
    learnPods(flow.pods, pods, event.dir);
    this.#all.add(flow);
    if (isSyn(event)) this.#halfOpen.add(flow);
    this.counts.opened += 1;
    this.#tell(flow, 'open', nowMs);
    if (this.#all.size > (this.#options.limit ?? 65_536)) {
      const oldest = this.#halfOpen.values().next().value ?? this.#all.values().next().value;
      if (oldest !== undefined) this.#close(oldest);
      this.counts.evicted += 1;
    }
    return flow;
  }

  /** Reads the table, gives entries to their flows, and has the counts of those that have changed. */
  #read(counting: FlowCounting): void {
    const touched = new Set<Flow>();
    for (const entry of counting.table.changed()) {
      const flow = this.#owners.get(entry);
      if (flow !== undefined) touched.add(flow);
      else if (!this.#unclaimed.has(entry)) this.#unclaimed.set(entry, pairKey(entry.proto, entry.tuple));
    }
    for (const [entry, key] of this.#unclaimed) {
      const flow = this.#flows.get(key);
      if (flow === undefined) continue;
      this.#unclaimed.delete(entry);
      this.#owners.set(entry, flow);
      flow.entries.add(entry);
      touched.add(flow);
    }
    for (const flow of touched) this.#applyCounts(flow, counting);
  }

  /** Its entries are whoever's has their name. */
  #release(flow: Flow): void {
    for (const entry of flow.entries) {
      this.#owners.delete(entry);
      this.#unclaimed.set(entry, pairKey(entry.proto, entry.tuple));
    }
    flow.entries.clear();
  }

  /** Removes the flows' entries first: what they count until then is the flows'. */
  #end(flows: readonly Flow[], counting: FlowCounting): void {
    counting.table.take(flows.flatMap(({ entries }) => [...entries]));
    for (const flow of flows) {
      this.#applyCounts(flow, counting);
      for (const entry of flow.entries) this.#owners.delete(entry);
      flow.entries.clear();
      this.#close(flow);
    }
  }

  #applyCounts(flow: Flow, { monotonicNs, realtimeOffsetNs, nowMs }: FlowCounting): void {
    const touch = (lastNs: bigint) => {
      const agoMs = lastNs === 0n ? 0 : Number(monotonicNs - lastNs) / 1e6;
      flow.touchedMs = Math.max(flow.touchedMs, nowMs - Math.max(0, agoMs));
    };
    const best = bestOf(this.#countsByInterface(flow));
    if (best === undefined) {
      // Interfaces that count nothing, such as a tunnel's, still say when it was seen.
      for (const { lastNs } of flow.entries) touch(lastNs);
      return;
    }
    flow.isCounted = true;
    if (total(best.packets) !== total(flow.packets)) touch(best.lastNs);
    flow.packets = best.packets;
    // The handshake's third packet was counted: the connection is established.
    if (flow.packets.request > 1 && flow.packets.reply > 0) this.#halfOpen.delete(flow);
    flow.bytes = best.bytes;
    const endNs = best.lastNs + realtimeOffsetNs;
    if (best.lastNs !== 0n && endNs > flow.endNs) flow.endNs = endNs;
  }

  #countsByInterface(flow: Flow): InterfaceSums[] {
    const byInterface = new Map<number, InterfaceSums>();
    for (const { tuple, counts, lastNs } of flow.entries) {
      const dir = isFrom(flow, { ip: tuple.src, port: tuple.sport }) ? 'request' : 'reply';
      for (const { ifindex, interfaceKind, direction, packets, bytes } of counts) {
        const sums = byInterface.get(ifindex) ?? newSums(interfaceKind === 'pod');
        sums.isOwn ||= sums.isPod && this.#isOwn(ifindex, tuple);
        sums[direction].packets[dir] += packets;
        sums[direction].bytes[dir] += bytes;
        if (lastNs > sums.lastNs) sums.lastNs = lastNs;
        byInterface.set(ifindex, sums);
      }
    }
    return [...byInterface.values()];
  }

  #isOwn(ifindex: number, { src, dst }: Tuple): boolean {
    const { isAddressOf } = this.#options;
    return isAddressOf !== undefined && (isAddressOf(ifindex, src) || isAddressOf(ifindex, dst));
  }

  #close(flow: Flow): void {
    this.#release(flow);
    this.#all.delete(flow);
    this.#halfOpen.delete(flow);
    for (const key of flow.keys) if (this.#flows.get(key) === flow) this.#flows.delete(key);
    this.counts.closed += 1;
    this.#tell(flow, 'close', flow.touchedMs);
  }

  #tell(flow: Flow, state: FlowEvent['state'], nowMs: number): void {
    flow.toldPackets = total(flow.packets);
    flow.toldMs = nowMs;
    const event: FlowEvent = {
      v: 1,
      kind: 'flow',
      id: flow.id,
      state,
      node: this.#options.node,
      proto: flow.proto,
      src: bare(flow.src),
      dst: bare(flow.dst),
      packets: { ...flow.packets },
      bytes: { ...flow.bytes },
      startTime: formatUnixNs(flow.startNs),
      endTime: formatUnixNs(flow.endNs),
    };
    if (state !== 'open' && !flow.isCounted) event.counted = false;
    if (flow.nat !== undefined)
      event.nat = flow.nat.map(({ kind, before, after, seenBy }) => ({ kind, before: bare(before), after: bare(after), seenBy }));
    this.#options.onFlow({ event, timeMs: Number(flow.startNs / 1_000_000n), pods: { ...flow.pods } });
  }
}

/** What one interface has counted of a flow, in all its entries. */
interface InterfaceSums {
  isOwn: boolean;
  isPod: boolean;
  in: FlowSums;
  out: FlowSums;
  lastNs: bigint;
}

interface FlowSums {
  packets: Counts;
  bytes: Counts;
}

function newSums(isPod: boolean): InterfaceSums {
  const none = (): FlowSums => ({ packets: { request: 0, reply: 0 }, bytes: { request: 0, reply: 0 } });
  return { isOwn: false, isPod, in: none(), out: none(), lastNs: 0n };
}

/**
 * The counts to go by: those of an end's own interface, else the fullest, so that they never go back. Another pod may forge the address of one end. Its
 * packets are at its own interface, and are not added to this flow's.
 */
function bestOf(interfaces: readonly InterfaceSums[]): (FlowSums & { lastNs: bigint }) | undefined {
  const own = interfaces.filter(({ isOwn }) => isOwn);
  const [first] = own.length > 0 ? own : interfaces;
  if (first !== undefined && (own.length === 1 || interfaces.length === 1))
    return { ...fuller(first.in, first.out), lastNs: first.lastNs };
  // A packet may come in at an interface and go out there again, under another address: a pod that is its own Service's endpoint, or that forwards.
  const single = interfaces.map((sums) => ({ ...sums, ...fuller(sums.in, sums.out) }));
  // What comes in at one uplink may be answered by another.
  const uplinks = single
    .filter(({ isPod }) => !isPod)
    .reduce<(typeof single)[number] | undefined>(
      (one, other) => (one === undefined ? other : { ...(one.lastNs > other.lastNs ? one : other), ...fuller(one, other) }),
      undefined,
    );
  const all = [...single.filter(({ isPod }) => isPod), ...(uplinks === undefined ? [] : [uplinks])];
  return all.sort(
    (a, b) => Number(b.isOwn) - Number(a.isOwn) || total(b.packets) - total(a.packets) || Number(b.isPod) - Number(a.isPod),
  )[0];
}

/** Of two that have seen the same packets, in each direction what the one has counted that has seen more of them. */
function fuller(one: FlowSums, other: FlowSums): FlowSums {
  const of = (dir: keyof Counts) => (one.packets[dir] >= other.packets[dir] ? one : other);
  const [request, reply] = [of('request'), of('reply')];
  return {
    packets: { request: request.packets.request, reply: reply.packets.reply },
    bytes: { request: request.bytes.request, reply: reply.bytes.reply },
  };
}

function staleLimitMs({ proto, counts }: CountedFlow): number {
  const packets = counts.reduce((most, count) => Math.max(most, count.packets), 0);
  if (proto === 'udp' && packets <= ANSWERED_MOST) return STALE_SHORT_MS;
  return DEFAULT_IDLE_MS[proto] ?? OTHER_IDLE_MS;
}

function learnPods(known: TrackedFlow['pods'], { from, to }: EndPods, dir: 'request' | 'reply'): void {
  const [src, dst] = dir === 'request' ? [from, to] : [to, from];
  if (src !== undefined) known.src = src;
  if (dst !== undefined) known.dst = dst;
}

/** TCP, UDP, SCTP and echoes have flows; ICMP errors, neighbour discovery and the like do not. */
function isCountable(event: PacketEvent): boolean {
  if (event.icmp !== undefined) return event.icmp.id !== undefined;
  return event.src.port !== undefined;
}

/** Also with the ECN flags (`SEC`, RFC 3168 section 6.1.1). */
function isSyn({ tcp }: PacketEvent): boolean {
  return tcp?.flags.includes('S') === true && !tcp.flags.includes('A');
}

function total(counts: Counts): number {
  return counts.request + counts.reply;
}

function bare(end: Endpoint): Endpoint {
  return end.port === undefined ? { ip: end.ip } : { ip: end.ip, port: end.port };
}

function tupleOf(event: PacketEvent): Tuple {
  return { src: event.src.ip, dst: event.dst.ip, sport: event.src.port ?? 0, dport: event.dst.port ?? 0 };
}

/** The flow's keys: before and after translation, the same for both directions. */
function keysOf(packet: AssembledPacket): string[] {
  const { event } = packet;
  if (event.icmp !== undefined) return echoKeys(packet);
  const own = pairKey(event.proto, tupleOf(event));
  if (event.nat === undefined) return [own];
  const keys = [own, pairKey(event.proto, translatedTuple(event))];
  // And between the two translations of a packet.
  const dnat = event.nat.find(({ kind }) => kind === 'dnat');
  if (dnat !== undefined && event.nat.length > 1) {
    const between = translatedTuple({ ...event, nat: [event.nat[0] as Translation] });
    keys.push(pairKey(event.proto, between));
  }
  return keys;
}

/**
 * Masquerade changes the id of an echo, and no translation has the new one. So the keys are the requester's addresses and id, and the tuple at each hop,
 * under which the kernel counts it.
 */
function echoKeys({ event, hopTuples }: AssembledPacket): string[] {
  const { src, dst } = initiatorOf(event);
  const asked = { src: src.ip, dst: dst.ip, sport: event.icmp?.id ?? 0, dport: 0 };
  return [...new Set([asked, ...hopTuples].map((tuple) => pairKey(event.proto, tuple)))];
}

function pairKey(proto: string, { src, dst, sport, dport }: Tuple): string {
  // The id of an echo is the same in both directions.
  if (proto === 'icmp' || proto === 'icmp6')
    return src < dst ? `${proto}|${src}|${dst}|${sport}` : `${proto}|${dst}|${src}|${sport}`;
  const isForward = src < dst || (src === dst && sport < dport);
  return isForward ? `${proto}|${src}|${sport}|${dst}|${dport}` : `${proto}|${dst}|${dport}|${src}|${sport}`;
}

/** The ends as the initiator has them: of a reply, those after its translations, swapped. */
function initiatorOf(event: PacketEvent): { src: Endpoint; dst: Endpoint } {
  if (event.dir === 'request') return { src: event.src, dst: event.dst };
  const after = translatedTuple(event);
  if (event.src.port === undefined) return { src: { ip: after.dst }, dst: { ip: after.src } };
  return { src: { ip: after.dst, port: after.dport }, dst: { ip: after.src, port: after.sport } };
}

function isFrom(flow: Flow, end: { ip: string; port?: number }): boolean {
  const isEnd = (other: Endpoint) => other.ip === end.ip && (other.port === undefined || other.port === end.port);
  return isEnd(flow.src) || (flow.nat?.some(({ kind, after }) => kind === 'snat' && isEnd(after)) ?? false);
}

/** A packet's translations as a request has them: those of a reply are inverted. */
function requestTranslations(event: PacketEvent): Translation[] | undefined {
  if (event.nat === undefined) return undefined;
  if (event.dir === 'request') return event.nat;
  return event.nat.map((entry) => ({ ...entry, before: entry.after, after: entry.before })).reverse();
}

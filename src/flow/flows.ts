import type { Tuple } from '../event/sighting.ts';
import type { Counts, Endpoint, FlowEvent, PacketEvent, PodRef, Translation } from '../event/types.ts';
import { formatUnixNs } from '../util/time.ts';
import type { AssembledPacket, InterfaceKind } from './packet-event.ts';
import { translatedTuple } from './translation.ts';

/** One entry of the kernel's flow table, decoded. */
export interface CountedFlow {
  proto: string;
  tuple: Tuple;
  ifindex: number;
  interfaceKind: InterfaceKind | undefined;
  packets: number;
  bytes: number;
  firstNs: bigint;
  lastNs: bigint;
  /** The raw key, to remove the entry. */
  key: Uint8Array;
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
/** A datagram and its answer, as of DNS (sent twice at most): nothing more will come, and each such flow takes up to eight entries of the kernel's table. */
const ANSWERED_IDLE_MS = 5000;
const ANSWERED_MOST = 2;
/** A connection that was not established: in the first 30 s Linux retransmits a SYN at intervals of at most 16 s. */
const HALF_OPEN_IDLE_MS = 20_000;
/** An entry of the kernel's table that belongs to no flow is removed when no packet was counted for this long. */
const STALE_NS = 120_000_000_000n;

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
    const flow = keys.map((key) => this.#flows.get(key)).find((known) => known !== undefined) ?? this.#begin(packet, nowMs, pods);
    for (const key of keys) {
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

  /** Takes the kernel's counts, emits updates and ends. Gives the keys of the entries that can be removed. */
  count(entries: readonly CountedFlow[], clock: { monotonicNs: bigint; realtimeOffsetNs: bigint }, nowMs: number): Uint8Array[] {
    const groups = this.#group(entries);
    const unused: Uint8Array[] = [];
    for (const [flow, group] of groups) this.#applyCounts(flow, group, clock.realtimeOffsetNs, nowMs);
    for (const flow of this.#all) {
      const total = flow.packets.request + flow.packets.reply;
      const idleMs = nowMs - flow.touchedMs;
      const hasEnded = flow.ended.request && flow.ended.reply && idleMs > 1000;
      if (hasEnded || idleMs > this.#idleLimitMs(flow)) {
        this.#close(flow);
        for (const { key } of groups.get(flow) ?? []) unused.push(key);
      } else if (total !== flow.toldPackets && nowMs - flow.toldMs >= (this.#options.updateMs ?? 10_000)) {
        this.#tell(flow, 'update', nowMs);
      }
    }
    const grouped = new Set([...groups.values()].flat());
    const staleNs = clock.monotonicNs - STALE_NS;
    for (const entry of entries) if (!grouped.has(entry) && entry.lastNs < staleNs) unused.push(entry.key);
    return unused;
  }

  /** How many reply packets the flow of an emitted packet had when the counts were taken last; undefined: it is not counted. */
  repliesTo(packet: AssembledPacket): number | undefined {
    for (const key of keysOf(packet)) {
      const flow = this.#flows.get(key);
      if (flow !== undefined) return flow.isCounted ? flow.packets.reply : undefined;
    }
    return undefined;
  }

  /** Closes all flows and emits their ends. */
  closeAll(): void {
    for (const flow of this.#all) this.#close(flow);
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

  #group(entries: readonly CountedFlow[]): Map<Flow, CountedFlow[]> {
    const groups = new Map<Flow, CountedFlow[]>();
    for (const entry of entries) {
      const flow = this.#flows.get(pairKey(entry.proto, entry.tuple));
      if (flow === undefined) continue;
      const group = groups.get(flow);
      if (group === undefined) groups.set(flow, [entry]);
      else group.push(entry);
    }
    return groups;
  }

  #applyCounts(flow: Flow, entries: readonly CountedFlow[], realtimeOffsetNs: bigint, nowMs: number): void {
    const byInterface = new Map<number, { isOwn: boolean; isPod: boolean; packets: Counts; bytes: Counts; lastNs: bigint }>();
    for (const entry of entries) {
      const sums = byInterface.get(entry.ifindex) ?? {
        isOwn: false,
        isPod: entry.interfaceKind === 'pod',
        packets: { request: 0, reply: 0 },
        bytes: { request: 0, reply: 0 },
        lastNs: 0n,
      };
      sums.isOwn ||= this.#isOwn(entry);
      const dir = isFrom(flow, { ip: entry.tuple.src, port: entry.tuple.sport }) ? 'request' : 'reply';
      sums.packets[dir] += entry.packets;
      sums.bytes[dir] += entry.bytes;
      if (entry.lastNs > sums.lastNs) sums.lastNs = entry.lastNs;
      byInterface.set(entry.ifindex, sums);
    }
    // Another pod may forge the address of one end. Its packets are at its own interface, and are not added to this flow's.
    const [best] = [...byInterface.values()].sort(
      (a, b) => Number(b.isOwn) - Number(a.isOwn) || Number(b.isPod) - Number(a.isPod) || total(b.packets) - total(a.packets),
    );
    if (best === undefined) return;
    flow.isCounted = true;
    if (total(best.packets) !== total(flow.packets)) flow.touchedMs = nowMs;
    flow.packets = best.packets;
    // The handshake's third packet was counted: the connection is established.
    if (flow.packets.request > 1 && flow.packets.reply > 0) this.#halfOpen.delete(flow);
    flow.bytes = best.bytes;
    const endNs = best.lastNs + realtimeOffsetNs;
    if (best.lastNs !== 0n && endNs > flow.endNs) flow.endNs = endNs;
  }

  #isOwn({ ifindex, interfaceKind, tuple }: CountedFlow): boolean {
    const { isAddressOf } = this.#options;
    return (
      interfaceKind === 'pod' && isAddressOf !== undefined && (isAddressOf(ifindex, tuple.src) || isAddressOf(ifindex, tuple.dst))
    );
  }

  #close(flow: Flow): void {
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

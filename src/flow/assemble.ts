import type { Sighting, Tuple } from '../event/sighting.ts';
import type { PacketEvent } from '../event/types.ts';
import { base36 } from './base36.ts';
import { noiseFilter } from './drop-noise.ts';
import { EarlyRewrites } from './early.ts';
import { contentKey, fingerprintOf } from './fingerprint.ts';
import { ErrorsMade } from './icmp-error.ts';
import { type AssembledPacket, type NodeView, newPacket, type OpenPacket, sightingsOf } from './open-packet.ts';
import { assembled, packetEvent } from './packet-event.ts';
import { PacketList } from './packet-list.ts';
import { conntrackRank } from './translation.ts';

export interface AssemblerOptions {
  view: NodeView;
  /** Prefix of packet ids, different for every start of the agent. */
  idPrefix: string;
  onPacket(packet: AssembledPacket): void;
  /** A packet is emitted when it was not seen for this long, ms. */
  quietMs?: number;
  /** Late sightings amend an emitted packet for this long, ms: the kernel drops a packet up to 3 s late, when its neighbour's address is not resolved. */
  amendMs?: number;
  /** Open packets held at most; the oldest is emitted first. */
  limit?: number;
  /** Sightings held at most for amendments: of emitted packets that have ended, and as many of those that may still be on this node. The oldest packet is forgotten first. */
  toldLimit?: number;
  /** Sightings of one packet at most; later ones begin another packet. */
  packetLimit?: number;
}

/** Counters since the start: sightings − noise were joined to packets; told + discarded + open packets = begun. */
export interface AssemblerCounts {
  sightings: number;
  begun: number;
  told: number;
  amended: number;
  /** Drops that the kernel reports and that end no packet, see `noiseFilter`. */
  noise: number;
  /** Provisional packets that turned out to match no follower. */
  discarded: number;
  /** Emitted early because too many were held. */
  evicted: number;
  /** Emitted, and forgotten early because too many were held: later sightings of them begin another record. */
  forgotten: number;
  /** Sightings of kernel functions whose packet was seen at no interface. Rewrites and errors that still wait for their packet are not counted yet. */
  unjoined: number;
}

/**
 * Sightings → packets. Sightings belong to one packet when they have the same sk_buff address, which does not change from hop to hop on a node, and the
 * same content. A sighting at an entry hook begins a new packet; so does a second one at the same hook, because then the sk_buff was reused. Where the
 * address changes on the way (defragmentation, a clone) the content alone decides.
 */
export class Assembler {
  readonly counts: AssemblerCounts = {
    sightings: 0,
    begun: 0,
    told: 0,
    amended: 0,
    noise: 0,
    discarded: 0,
    evicted: 0,
    forgotten: 0,
    unjoined: 0,
  };
  readonly #options: Required<AssemblerOptions>;
  readonly #bySkb = new Map<number, OpenPacket>();
  readonly #byContent = new Map<number, OpenPacket>();
  /** In the order they were opened. */
  readonly #open = new PacketList<OpenPacket>();
  /** Emitted packets. Those that have ended are held for a shorter time, because what else is seen of them comes at once. */
  readonly #waiting = new PacketList<OpenPacket>();
  readonly #ended = new PacketList<OpenPacket>();
  readonly #errorsMade = new ErrorsMade();
  readonly #early = new EarlyRewrites();
  readonly #isNoise: ReturnType<typeof noiseFilter>;
  #serial = 0;

  constructor(options: AssemblerOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.#isNoise = noiseFilter(options.view);
  }

  /** Takes a sighting. `nowMs` is of any monotonic clock, the same one as in `tick`. */
  add(sighting: Sighting, nowMs: number): void {
    this.counts.sightings += 1;
    if (this.#isNoise(sighting)) {
      this.counts.noise += 1;
      return;
    }
    if (sighting.hook !== 'tc-in' && sighting.hook !== 'tc-out' && sighting.hook !== 'drop') {
      this.#addOfStack(sighting, nowMs);
      return;
    }
    const fingerprint = fingerprintOf(sighting);
    const packet = this.#find(sighting, fingerprint) ?? this.#begin(sighting, fingerprint);
    if (packet.last !== sighting) {
      const isTranslated = packet.last.tuple.src !== sighting.tuple.src || packet.last.tuple.dst !== sighting.tuple.dst;
      join(packet, sighting);
      if (isTranslated) this.#knowByContent(packet, sighting.tuple);
      if (packet.skbs.at(-1) !== sighting.skb) this.#knowBySkb(packet, sighting.skb);
    }
    this.#touch(packet, nowMs);
  }

  /** A kernel function's sighting is no hop: it is joined to its packet, or waits until the packet is seen at an interface. */
  #addOfStack(sighting: Sighting, nowMs: number): void {
    if (sighting.hook === 'icmp-sent') {
      this.counts.unjoined += this.#errorsMade.note(sighting);
      return;
    }
    const fingerprint = fingerprintOf(sighting);
    const packet = this.#find(sighting, fingerprint);
    if (packet === undefined) {
      const isEarly = sighting.hook === 'nat' || sighting.hook === 'confirmed';
      this.counts.unjoined += isEarly ? this.#early.note(sighting, fingerprint) : 1;
      return;
    }
    packet.stack.push(sighting);
    if (sighting.hook === 'nat') packet.isProvisional = false;
    learn(packet, sighting);
    this.#touch(packet, nowMs);
  }

  #touch(packet: OpenPacket, nowMs: number): void {
    packet.touchedMs = nowMs;
    if (packet.list !== this.#open) this.#open.add(packet, sightingsOf(packet));
    if (this.#open.size > this.#options.limit) this.#evict();
  }

  /**
   * Emits packets that have ended or were not seen for `quietMs`, and forgets emitted ones that are too old to be amended.
   * @param readToNs what was seen before this (CLOCK_MONOTONIC) has been added. Of others that have ended more may come until the next tick
   */
  tick(nowMs: number, readToNs = 0n): void {
    let packet = this.#open.oldest;
    // Who is told may have all told, in which case the next one is in another list.
    while (packet?.list === this.#open) {
      const { after }: OpenPacket = packet;
      const quietMs = nowMs - packet.touchedMs;
      const isSettled = quietMs > 0 || packet.last.timeNs < readToNs;
      if (quietMs >= this.#options.quietMs || (isSettled && this.#isReady(packet))) this.#tell(packet);
      packet = after;
    }
    const { amendMs } = this.#options;
    this.#forgetOld(this.#waiting, nowMs - amendMs);
    this.#forgetOld(this.#ended, nowMs - Math.min(amendMs, ENDED_MS));
  }

  /** Emits all open packets. */
  flush(): void {
    while (this.#open.oldest !== undefined) this.#tell(this.#open.oldest);
  }

  /** Packets that are not emitted yet. */
  get openPackets(): number {
    return this.#open.size;
  }

  get held(): number {
    return this.#open.size + this.#waiting.size + this.#ended.size;
  }

  #find(sighting: Sighting, fingerprint: number): OpenPacket | undefined {
    if (sighting.entry) return undefined;
    const bySkb = this.#bySkb.get(sighting.skb);
    if (bySkb !== undefined && bySkb.fingerprint === fingerprint && this.#mayBeOf(bySkb, sighting)) return bySkb;
    const byContent = this.#byContent.get(contentKey(fingerprint, sighting.tuple));
    if (byContent?.fingerprint !== fingerprint || !hasAddresses(byContent, sighting.tuple)) return undefined;
    return this.#mayBeOf(byContent, sighting) ? byContent : undefined;
  }

  /**
   * A later packet may have the same content, and an sk_buff at the same address. So a drop belongs to this packet only when it comes shortly after the
   * last hop, or when the packet may still be on this node.
   */
  #mayBeOf(packet: OpenPacket, sighting: Sighting): boolean {
    if (sightingsOf(packet) >= this.#options.packetLimit) return false;
    if (sighting.hook !== 'drop') return !hasPassed(packet, sighting);
    return sighting.timeNs - packet.last.timeNs < AT_ONCE_NS || !this.#isOver(packet);
  }

  #isOver(packet: OpenPacket): boolean {
    const { last, stack } = packet;
    if (this.#hasEnded(packet) || stack.some(({ hook }) => hook === 'echo-answered' || hook === 'icmp-received')) return true;
    return last.hook === 'tc-in' && this.#options.view.isOwnAddress(last.tuple.dst);
  }

  #begin(sighting: Sighting, fingerprint: number): OpenPacket {
    this.counts.begun += 1;
    this.#serial += 1;
    const packet = newPacket(this.#options.idPrefix + base36(this.#serial), sighting, fingerprint);
    if (sighting.hook === 'tc-out' || mayBeLate(sighting)) packet.stack = this.#early.take(sighting, fingerprint);
    if (sighting.hook !== 'drop') packet.madeBy = this.#errorsMade.take(sighting);
    this.#bySkb.set(sighting.skb, packet);
    this.#byContent.set(packet.contentKeys[0] as number, packet);
    return packet;
  }

  #knowBySkb(packet: OpenPacket, skb: number): void {
    packet.skbs.push(skb);
    this.#bySkb.set(skb, packet);
  }

  #knowByContent(packet: OpenPacket, tuple: Tuple): void {
    const key = contentKey(packet.fingerprint, tuple);
    packet.contentKeys.push(key);
    packet.contentTuples.push(tuple);
    this.#byContent.set(key, packet);
  }

  /**
   * Nothing more comes of it. Who began a conversation that conntrack does not know is told by the order of its packets alone: they wait, all as long,
   * because nobody sees that a process has taken one.
   */
  #isReady(packet: OpenPacket): boolean {
    return packet.conntrack !== undefined && this.#hasEnded(packet);
  }

  /** Dropped, handed to a pod, or sent out of the node. */
  #hasEnded(packet: OpenPacket): boolean {
    if (packet.drops.length > 0) return true;
    if (packet.last.hook !== 'tc-out') return false;
    const kind = this.#options.view.interfaceKind(packet.last.ifindex);
    return kind === 'pod' || kind === 'uplink';
  }

  #tell(packet: OpenPacket): void {
    // First of all: one that cannot be told must not be tried again and again.
    this.#open.delete(packet);
    if (packet.isProvisional) {
      this.counts.discarded += 1;
      this.#forget(packet);
      return;
    }
    const event = this.#eventOf(packet);
    if (packet.isTold) {
      event.amends = true;
      this.counts.amended += 1;
    } else {
      this.counts.told += 1;
    }
    packet.isTold = true;
    this.#hold(packet);
    this.#options.onPacket(assembled(event, packet, this.#options.view));
  }

  /** A packet that nothing can be made of is forgotten: nobody would do it later. */
  #eventOf(packet: OpenPacket): PacketEvent {
    try {
      putInOrder(packet);
      return packetEvent(packet, this.#options.view);
    } catch (error) {
      this.#forget(packet);
      throw error;
    }
  }

  #hold(packet: OpenPacket): void {
    const told = this.#isOver(packet) ? this.#ended : this.#waiting;
    told.add(packet, sightingsOf(packet));
    while (told.sightings > this.#options.toldLimit) {
      this.counts.forgotten += 1;
      this.#forget(told.oldest as OpenPacket);
    }
  }

  #forgetOld(told: PacketList<OpenPacket>, untilMs: number): void {
    while (told.oldest !== undefined && told.oldest.touchedMs <= untilMs) this.#forget(told.oldest);
  }

  #evict(): void {
    const { oldest } = this.#open;
    if (oldest === undefined) return;
    this.counts.evicted += 1;
    this.#tell(oldest);
  }

  #forget(packet: OpenPacket): void {
    packet.list?.delete(packet);
    for (const skb of packet.skbs) if (this.#bySkb.get(skb) === packet) this.#bySkb.delete(skb);
    for (const key of packet.contentKeys) if (this.#byContent.get(key) === packet) this.#byContent.delete(key);
  }
}

const DEFAULTS = {
  quietMs: 20,
  amendMs: 5000,
  limit: 4096,
  toldLimit: 32_768,
  packetLimit: 256,
};
const AT_ONCE_NS = 100_000_000n;
/** AT_ONCE_NS, and as long as the ring may be read late. */
const ENDED_MS = 500;

function join(packet: OpenPacket, sighting: Sighting): void {
  // Most hops do not change the bytes: then one copy is held.
  const { data } = packet.last;
  if (sighting.data !== data && Buffer.compare(data, sighting.data) === 0) sighting.data = data;
  packet.last = sighting;
  packet.sightings.push(sighting);
  if (!sighting.provisional) packet.isProvisional = false;
  if (sighting.hook === 'drop') packet.drops.push(sighting);
  learn(packet, sighting);
}

/** Where a packet came in may be emitted with a later hop of it, after what the stack did with it between them. */
function mayBeLate({ entry, provisional }: Sighting): boolean {
  return entry && provisional;
}

function learn(packet: OpenPacket, { conntrack }: Sighting): void {
  if (conntrack === undefined) return;
  if (packet.conntrack === undefined || conntrackRank(conntrack) >= conntrackRank(packet.conntrack)) packet.conntrack = conntrack;
}

/** The ring has records in the order of reservation. Two CPUs may reserve in another order than they read the clock. */
function putInOrder(packet: OpenPacket): void {
  const { sightings } = packet;
  if (sightings.every((sighting, at) => at === 0 || (sightings[at - 1] as Sighting).timeNs <= sighting.timeNs)) return;
  sightings.sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
  packet.first = packet.sightings[0] ?? packet.first;
  packet.last = packet.sightings.at(-1) ?? packet.last;
}

function hasPassed({ sightings }: OpenPacket, { hook, ifindex, netns }: Sighting): boolean {
  // Drops and rewrites may come several times for one packet: each copy is dropped by itself, and NAT rewrites one end after the other.
  if (hook !== 'tc-in' && hook !== 'tc-out') return false;
  for (const seen of sightings) if (seen.ifindex === ifindex && seen.hook === hook && seen.netns === netns) return true;
  return false;
}

/** Keys may collide as well. */
function hasAddresses({ contentTuples }: OpenPacket, { src, dst }: Tuple): boolean {
  return contentTuples.some((known) => (known.src === src && known.dst === dst) || (known.src === dst && known.dst === src));
}

import type { Sighting, Tuple } from '../event/sighting.ts';
import { noiseFilter } from './drop-noise.ts';
import { EarlyRewrites } from './early.ts';
import { fingerprintOf } from './fingerprint.ts';
import { ErrorsMade } from './icmp-error.ts';
import { type AssembledPacket, assembled, type NodeView, type OpenPacket, packetEvent } from './packet-event.ts';
import { conntrackRank } from './translation.ts';

export interface AssemblerOptions {
  view: NodeView;
  /** Prefix of packet ids, different for every start of the agent. */
  idPrefix: string;
  onPacket(packet: AssembledPacket): void;
  /** A packet is emitted when nothing more was seen of it for this long, ms. */
  quietMs?: number;
  /** Late sightings amend an emitted packet for this long, ms: a packet may wait 3 s for its neighbour's address before it is dropped. */
  amendMs?: number;
  /** Whether the captured bytes are asked for: a filter looks at them. */
  keepsBytes?(): boolean;
  /** Open packets held at most; the oldest is emitted first. */
  limit?: number;
  /** Told packets held at most that have ended, and that may wait on this node still; the oldest is forgotten first. */
  toldLimit?: number;
}

/** Counters since the start: sightings − noise were joined to packets; packets told + discarded + open = packets begun. */
export interface AssemblerCounts {
  sightings: number;
  begun: number;
  told: number;
  amended: number;
  /** Drops that are no packet's fate. */
  noise: number;
  /** Provisional packets that turned out to be no follower's. */
  discarded: number;
  /** Told before their time because too many were held. */
  evicted: number;
  /** Told, and forgotten before their time because too many were held: what is seen of them later is another record. */
  forgotten: number;
  /** What the stack did with packets that were seen at no interface; rewrites that wait for one are not among them yet. */
  unjoined: number;
}

/**
 * Sightings → packets. A packet is identified by its sk_buff's address, which stays the same from hop to hop on a node, as long as its content
 * agrees; it begins anew at every entry hook, and when it passes a hook for the second time (the sk_buff was reused). Where the pointer is lost
 * (defragmentation, a clone) the content alone joins.
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
  readonly #bySkb = new Map<bigint, OpenPacket>();
  readonly #byContent = new Map<string, OpenPacket>();
  /** In the order they were last touched. */
  readonly #open = new Set<OpenPacket>();
  /** Told packets that may wait on this node still, and those that have ended: of them all that follows comes at once. */
  readonly #waiting = new Set<OpenPacket>();
  readonly #ended = new Set<OpenPacket>();
  readonly #errorsMade = new ErrorsMade();
  readonly #early = new EarlyRewrites();
  readonly #isNoise: ReturnType<typeof noiseFilter>;
  #serial = 0;

  constructor(options: AssemblerOptions) {
    this.#options = { quietMs: 20, amendMs: 5000, limit: 4096, toldLimit: 16_384, keepsBytes: () => false, ...options };
    this.#isNoise = noiseFilter(options.view);
  }

  /** Takes a sighting at `nowMs` (any monotonic clock, the same as in `tick`). */
  add(sighting: Sighting, nowMs: number): void {
    this.counts.sightings += 1;
    if (this.#isNoise(sighting)) {
      this.counts.noise += 1;
      return;
    }
    // A view would keep its whole batch alive for as long as the packet is held.
    sighting.data = this.#options.keepsBytes() ? sighting.data.slice() : NO_BYTES;
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

  /** No hop: what it says is joined to the packet that it is about, or waits for it to be seen at an interface. */
  #addOfStack(sighting: Sighting, nowMs: number): void {
    if (sighting.hook === 'icmp-sent') {
      this.#errorsMade.note(sighting);
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
    if (packet.isTold) this.#unhold(packet);
    this.#open.add(packet);
    if (this.#open.size > this.#options.limit) this.#evict();
  }

  /** Emits the packets that have been quiet long enough, and forgets emitted ones whose time is over. */
  tick(nowMs: number): void {
    for (const packet of this.#open) {
      const quietMs = nowMs - packet.touchedMs;
      if (quietMs >= this.#options.quietMs || (quietMs > 0 && this.#hasEnded(packet))) this.#tell(packet);
    }
    const { amendMs } = this.#options;
    this.#forgetOld(this.#waiting, nowMs - amendMs);
    this.#forgetOld(this.#ended, nowMs - Math.min(amendMs, ENDED_MS));
  }

  /** Tells everything that is open, whatever its age. */
  flush(): void {
    for (const packet of this.#open) this.#tell(packet);
  }

  get held(): number {
    return this.#open.size + this.#waiting.size + this.#ended.size;
  }

  #find(sighting: Sighting, fingerprint: number): OpenPacket | undefined {
    if (sighting.entry) return undefined;
    const bySkb = this.#bySkb.get(sighting.skb);
    if (bySkb !== undefined && bySkb.fingerprint === fingerprint && this.#mayBeOf(bySkb, sighting)) return bySkb;
    const byContent = this.#byContent.get(contentKey(fingerprint, sighting.tuple));
    return byContent !== undefined && this.#mayBeOf(byContent, sighting) ? byContent : undefined;
  }

  /** A drop comes at once, or to what waited. A later packet may be the same in all that is compared, and its sk_buff lie where this one's did. */
  #mayBeOf(packet: OpenPacket, sighting: Sighting): boolean {
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
    const packet: OpenPacket = {
      id: `${this.#options.idPrefix}${this.#serial.toString(36)}`,
      skbs: [],
      contentKeys: [],
      fingerprint,
      first: sighting,
      last: sighting,
      sightings: [sighting],
      stack: sighting.hook === 'tc-out' ? this.#early.take(sighting, fingerprint) : [],
      madeBy: sighting.hook === 'drop' ? undefined : this.#errorsMade.take(sighting),
      conntrack: sighting.conntrack,
      drops: sighting.hook === 'drop' ? [sighting] : [],
      touchedMs: 0,
      isTold: false,
      isProvisional: sighting.provisional,
    };
    this.#knowBySkb(packet, sighting.skb);
    this.#knowByContent(packet, sighting.tuple);
    return packet;
  }

  #knowBySkb(packet: OpenPacket, skb: bigint): void {
    packet.skbs.push(skb);
    this.#bySkb.set(skb, packet);
  }

  #knowByContent(packet: OpenPacket, tuple: Tuple): void {
    const key = contentKey(packet.fingerprint, tuple);
    packet.contentKeys.push(key);
    this.#byContent.set(key, packet);
  }

  /** Nothing more is to be expected: dropped, handed to a pod, or sent out of the node. */
  #hasEnded(packet: OpenPacket): boolean {
    if (packet.drops.length > 0) return true;
    if (packet.last.hook !== 'tc-out') return false;
    const kind = this.#options.view.interfaceKind(packet.last.ifindex);
    return kind === 'pod' || kind === 'uplink';
  }

  #tell(packet: OpenPacket): void {
    this.#open.delete(packet);
    if (packet.isProvisional) {
      this.counts.discarded += 1;
      this.#forget(packet);
      return;
    }
    putInOrder(packet);
    const event = packetEvent(packet, this.#options.view);
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

  #hold(packet: OpenPacket): void {
    const told = this.#isOver(packet) ? this.#ended : this.#waiting;
    told.add(packet);
    if (told.size <= this.#options.toldLimit) return;
    const oldest = told.values().next().value;
    if (oldest === undefined) return;
    this.counts.forgotten += 1;
    this.#forget(oldest);
  }

  #unhold(packet: OpenPacket): void {
    this.#waiting.delete(packet);
    this.#ended.delete(packet);
  }

  #forgetOld(told: ReadonlySet<OpenPacket>, untilMs: number): void {
    for (const packet of told) {
      if (packet.touchedMs > untilMs) break;
      this.#forget(packet);
    }
  }

  #evict(): void {
    const oldest = this.#open.values().next().value;
    if (oldest === undefined) return;
    this.counts.evicted += 1;
    this.#tell(oldest);
  }

  #forget(packet: OpenPacket): void {
    this.#unhold(packet);
    for (const skb of packet.skbs) if (this.#bySkb.get(skb) === packet) this.#bySkb.delete(skb);
    for (const key of packet.contentKeys) if (this.#byContent.get(key) === packet) this.#byContent.delete(key);
  }
}

const AT_ONCE_NS = 100_000_000n;
/** Longer than AT_ONCE_NS by what the ring's reader may be late. */
const ENDED_MS = 500;
const NO_BYTES = new Uint8Array(0);

function join(packet: OpenPacket, sighting: Sighting): void {
  // Most hops change nothing: then its bytes are held once.
  if (Buffer.compare(packet.last.data, sighting.data) === 0) sighting.data = packet.last.data;
  packet.last = sighting;
  packet.sightings.push(sighting);
  if (!sighting.provisional) packet.isProvisional = false;
  if (sighting.hook === 'drop') packet.drops.push(sighting);
  learn(packet, sighting);
}

function learn(packet: OpenPacket, { conntrack }: Sighting): void {
  if (conntrack === undefined) return;
  if (packet.conntrack === undefined || conntrackRank(conntrack) >= conntrackRank(packet.conntrack)) packet.conntrack = conntrack;
}

/** The ring keeps the order of reservation, which two CPUs may swap against the order of their clocks. */
function putInOrder(packet: OpenPacket): void {
  const { sightings } = packet;
  if (sightings.every((sighting, at) => at === 0 || (sightings[at - 1] as Sighting).timeNs <= sighting.timeNs)) return;
  sightings.sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
  packet.first = packet.sightings[0] ?? packet.first;
  packet.last = packet.sightings.at(-1) ?? packet.last;
}

function hasPassed({ sightings }: OpenPacket, { hook, ifindex, netns }: Sighting): boolean {
  // Copies of one packet may be dropped one by one, and NAT rewrites one end after the other; that passes no hook twice.
  if (hook !== 'tc-in' && hook !== 'tc-out') return false;
  for (const seen of sightings) if (seen.ifindex === ifindex && seen.hook === hook && seen.netns === netns) return true;
  return false;
}

/** One address stays what it was in every single translation: the content joins only what shares the packet's ends. */
function contentKey(fingerprint: number, tuple: Tuple): string {
  return tuple.src < tuple.dst ? `${fingerprint}|${tuple.src}|${tuple.dst}` : `${fingerprint}|${tuple.dst}|${tuple.src}`;
}

import { isEchoReply, isEchoRequest } from '../event/names.ts';
import type { IcmpFacts, PacketEvent } from '../event/types.ts';
import { isUnicast } from '../util/address.ts';
import type { AssembledPacket } from './open-packet.ts';
import { translatedTuple } from './translation.ts';

/** What should be answered: a ping, a SYN, a datagram to DNS or to a Service. */
type Kind = 'echo' | 'syn' | 'query';

const DNS_PORT = 53;

interface Question {
  packet: AssembledPacket;
  sinceMs: number;
  /** SYNs of the same connection after the first. */
  retransmissions: number;
  /** Reply packets that its flow had before. */
  repliesBefore: number;
}

/** Questions of one kind, in the order they were asked. */
interface Waiting {
  timeoutMs: number;
  asked: Map<string, Question>;
  /** Questions whose answer or error was emitted before they were, and when. */
  ended: Map<string, number>;
}

export interface AnswerTrackerOptions {
  onUnanswered(packet: AssembledPacket): void;
  /** How many reply packets the flow of a SYN or query has by the kernel's count, which has also those that are not emitted; undefined: not counted. */
  repliesTo?(packet: AssembledPacket): number | undefined;
  timeoutMs?: Partial<Record<Kind, number>>;
  /** Questions that wait, of each kind, at most. */
  limit?: number;
}

/**
 * Pairs questions with answers. It sets `rttUs` on an echo reply. An echo request, a SYN or a query is emitted again as unanswered, when it was not dropped
 * and neither an answer nor an ICMP error about it came in time.
 * A pair has the same addresses as the requester uses them (a Service's, where it asked one), and the same ports, or the echo's id and seq. A
 * retransmitted SYN is the same question, and is emitted as unanswered once.
 */
export class AnswerTracker {
  readonly #waiting: Record<Kind, Waiting>;
  /** Connections whose SYN was emitted as unanswered, and its `seq`. */
  readonly #toldSyns = new Map<string, number>();
  readonly #limit: number;
  readonly #options: AnswerTrackerOptions;
  /** Questions forgotten because too many waited. */
  evicted = 0;

  constructor(options: AnswerTrackerOptions) {
    this.#options = options;
    this.#limit = options.limit ?? 8192;
    const waiting = (timeoutMs: number): Waiting => ({ timeoutMs, asked: new Map(), ended: new Map() });
    const { echo = 1000, syn = 1000, query = 5000 } = options.timeoutMs ?? {};
    this.#waiting = { echo: waiting(echo), syn: waiting(syn), query: waiting(query) };
  }

  /** Takes a packet that is about to be emitted and has its names; sets `event.icmp.rttUs` on an echo reply. */
  note(packet: AssembledPacket, nowMs: number): void {
    const { event } = packet;
    if (event.icmp?.about !== undefined) this.#error(event.icmp, nowMs);
    const kind = kindOf(packet);
    if (kind !== undefined) this.#ask(kind, packet, nowMs);
    else if (event.icmp === undefined) this.#answer(event, nowMs);
    else if (event.icmp.id !== undefined && isEchoReply(versionOf(event), event.icmp.type)) this.#reply(packet, nowMs);
  }

  /** Emits the pings that were not answered in time. */
  tick(nowMs: number): void {
    this.#expire('echo', nowMs, () => true);
  }

  /** Emits the SYNs and queries that were not answered in time. To be called right after the kernel's counts were read. */
  count(nowMs: number): void {
    this.#expire('syn', nowMs, ({ packet, repliesBefore }) => (this.#repliesTo(packet) ?? 0) <= repliesBefore);
    // The answer to a datagram need not be emitted, so the count alone shows it: without a count nothing is known.
    this.#expire('query', nowMs, ({ packet }) => this.#repliesTo(packet) === 0);
  }

  /** Pings that wait for their answer, or whose answer came first. */
  get pings(): number {
    const { asked, ended } = this.#waiting.echo;
    return asked.size + ended.size;
  }

  /** Forgets all questions: the followers that got them have left, and later ones are not told of them. */
  clear(): void {
    for (const { asked, ended } of Object.values(this.#waiting)) {
      asked.clear();
      ended.clear();
    }
    this.#toldSyns.clear();
  }

  #ask(kind: Kind, packet: AssembledPacket, nowMs: number): void {
    const { event } = packet;
    const { asked, ended } = this.#waiting[kind];
    const key = kind === 'echo' ? echoKey(event.src.ip, event.dst.ip, event.icmp) : portsKey(event);
    // It was dropped, which is emitted: no answer will come.
    if (event.drop !== undefined) {
      asked.delete(key);
      return;
    }
    const known = asked.get(key);
    if (known !== undefined && (kind === 'echo' || known.packet.event.id === event.id)) {
      known.packet = packet;
      return;
    }
    if (event.amends === true || ended.has(key)) return;
    if (kind === 'query' && known !== undefined) return;
    if (kind === 'syn' && this.#isAskedBefore(key, event, known)) return;
    asked.delete(key);
    const repliesBefore = kind === 'syn' ? (this.#repliesTo(packet) ?? 0) : 0;
    asked.set(key, { packet, sinceMs: nowMs, retransmissions: 0, repliesBefore });
    this.evicted += dropOldest(asked, this.#limit);
  }

  /** A retransmission: the connection's SYN waits, was answered, or was emitted as unanswered. */
  #isAskedBefore(key: string, { tcp }: PacketEvent, known: Question | undefined): boolean {
    const seq = tcp?.seq ?? 0;
    if (known?.packet.event.tcp?.seq === seq) {
      known.retransmissions += 1;
      return true;
    }
    return this.#waiting.syn.ended.has(ackedKey(key, seq + 1)) || this.#toldSyns.get(key) === seq;
  }

  #repliesTo(packet: AssembledPacket): number | undefined {
    return this.#options.repliesTo?.(packet);
  }

  #reply(reply: AssembledPacket, nowMs: number): void {
    const { event } = reply;
    const tuple = translatedTuple(event);
    const request = this.#end('echo', echoKey(tuple.dst, tuple.src, event.icmp), nowMs);
    if (request === undefined || event.icmp === undefined) return;
    event.icmp.rttUs = Math.round(Number(reply.lastNs - request.packet.firstNs) / 1000);
  }

  /** Any reply is an answer. A SYN's answer may be emitted before the SYN: it is recognized by the number that it acknowledges. */
  #answer(event: PacketEvent, nowMs: number): void {
    if (event.dir !== 'reply') return;
    const { proto, tcp } = event;
    const { src, sport, dst, dport } = translatedTuple(event);
    const key = portsKey({ proto, src: { ip: dst, port: dport }, dst: { ip: src, port: sport } });
    if (proto === 'udp') this.#end('query', key, nowMs);
    if (tcp === undefined) return;
    const { asked, ended } = this.#waiting.syn;
    if (asked.delete(key) || !/[SR]/.test(tcp.flags)) return;
    ended.set(ackedKey(key, tcp.ack), nowMs);
    dropOldest(ended, this.#limit);
  }

  /** A redirect is no refusal: the router forwarded the packet. */
  #error({ name, about }: IcmpFacts, nowMs: number): void {
    if (about === undefined || about.dir === 'reply' || name.startsWith('redirect')) return;
    if (about.seq !== undefined) this.#end('echo', echoKey(about.src.ip, about.dst.ip, about), nowMs);
    else if (about.proto === 'tcp') this.#end('syn', portsKey(about), nowMs);
    else if (about.proto === 'udp') this.#end('query', portsKey(about), nowMs);
  }

  /** Takes out the question that was answered. When it has not been emitted yet, it is noted as ended and will not wait. */
  #end(kind: Kind, key: string, nowMs: number): Question | undefined {
    const { asked, ended } = this.#waiting[kind];
    const question = asked.get(key);
    asked.delete(key);
    if (question !== undefined) return question;
    ended.set(key, nowMs);
    dropOldest(ended, this.#limit);
    return undefined;
  }

  #expire(kind: Kind, nowMs: number, isUnanswered: (question: Question) => boolean): void {
    const { asked, ended, timeoutMs } = this.#waiting[kind];
    for (const [key, endedMs] of ended) {
      if (nowMs - endedMs < timeoutMs) break;
      ended.delete(key);
    }
    for (const [key, question] of asked) {
      if (nowMs - question.sinceMs < timeoutMs) return;
      asked.delete(key);
      if (isUnanswered(question)) this.#tell(kind, key, question, timeoutMs);
    }
  }

  #tell(kind: Kind, key: string, { packet, retransmissions }: Question, ms: number): void {
    const { event } = packet;
    if (kind === 'syn') {
      this.#toldSyns.delete(key);
      this.#toldSyns.set(key, event.tcp?.seq ?? 0);
      dropOldest(this.#toldSyns, this.#limit);
    }
    const unanswered = retransmissions === 0 ? { ms } : { ms, retransmissions };
    this.#options.onUnanswered({ ...packet, event: { ...event, amends: true, unanswered } });
  }
}

function kindOf({ event, nothingNew }: AssembledPacket): Kind | undefined {
  const { proto, dir, icmp, tcp, dst, nat } = event;
  if (icmp !== undefined) return icmp.id !== undefined && isEchoRequest(versionOf(event), icmp.type) ? 'echo' : undefined;
  if (tcp !== undefined) return tcp.flags.includes('S') && !tcp.flags.includes('A') ? 'syn' : undefined;
  if (proto !== 'udp' || dir !== 'request' || dst.port === undefined || nothingNew) return undefined;
  const isAnswering =
    dst.port === DNS_PORT || dst.service !== undefined || nat?.some(({ service }) => service !== undefined) === true;
  return isAnswering && isUnicast(dst.ip) ? 'query' : undefined;
}

function versionOf({ proto }: PacketEvent): 4 | 6 {
  return proto === 'icmp6' ? 6 : 4;
}

function echoKey(requester: string, asked: string, echo: { id?: number; seq?: number } | undefined): string {
  return `${requester}|${asked}|${echo?.id}|${echo?.seq}`;
}

function portsKey({ proto, src, dst }: Pick<PacketEvent, 'proto' | 'src' | 'dst'>): string {
  return `${proto}|${src.ip}|${src.port}|${dst.ip}|${dst.port}`;
}

function ackedKey(key: string, ack: number): string {
  return `${key}|${ack >>> 0}`;
}

/** Gives how many were deleted. */
function dropOldest(map: Map<string, unknown>, limit: number): number {
  if (map.size <= limit) return 0;
  map.delete(map.keys().next().value as string);
  return 1;
}

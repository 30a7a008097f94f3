import { isEchoReply, isEchoRequest } from '../event/names.ts';
import type { IcmpFacts, PacketEvent } from '../event/types.ts';
import type { AssembledPacket } from './packet-event.ts';
import { translatedTuple } from './translation.ts';

interface Waiting {
  packet: AssembledPacket;
  sinceMs: number;
}

/**
 * Pairs echo replies with their requests: sets `rttUs` on a reply, and tells a request again, as unanswered, when neither a reply nor an ICMP error
 * about it came in time, and it was not dropped.
 * The pair is what the requester sees: its own address, the address it asked (a Service's, where it asked one), id and seq.
 */
export class EchoTracker {
  readonly #waiting = new Map<string, Waiting>();
  /** Requests that were answered or refused before they were told themselves, and when. */
  readonly #ended = new Map<string, number>();
  readonly #timeoutMs: number;
  readonly #limit: number;
  readonly #onUnanswered: (packet: AssembledPacket) => void;
  /** Requests forgotten because too many waited. */
  evicted = 0;

  constructor(options: { onUnanswered(packet: AssembledPacket): void; timeoutMs?: number; limit?: number }) {
    this.#onUnanswered = options.onUnanswered;
    this.#timeoutMs = options.timeoutMs ?? 1000;
    this.#limit = options.limit ?? 8192;
  }

  /** Takes a packet that is about to be told; on a reply `event.icmp.rttUs` is set. */
  note(packet: AssembledPacket, nowMs: number): void {
    const { event } = packet;
    if (event.icmp?.about !== undefined) this.#error(event.icmp, nowMs);
    if (event.icmp?.id === undefined) return;
    const version = event.proto === 'icmp6' ? 6 : 4;
    if (isEchoRequest(version, event.icmp.type)) this.#request(packet, nowMs);
    else if (isEchoReply(version, event.icmp.type)) this.#reply(packet, nowMs);
  }

  tick(nowMs: number): void {
    for (const [key, endedMs] of this.#ended) {
      if (nowMs - endedMs < this.#timeoutMs) break;
      this.#ended.delete(key);
    }
    for (const [key, { packet, sinceMs }] of this.#waiting) {
      if (nowMs - sinceMs < this.#timeoutMs) return;
      this.#waiting.delete(key);
      const { event } = packet;
      this.#onUnanswered({
        ...packet,
        event: {
          ...event,
          amends: true,
          icmp: { ...(event.icmp as NonNullable<PacketEvent['icmp']>), unansweredMs: this.#timeoutMs },
        },
      });
    }
  }

  /** Forgets what waits: those who were told of the requests have gone, and who comes next is not told of their fate. */
  clear(): void {
    this.#waiting.clear();
    this.#ended.clear();
  }

  #request(packet: AssembledPacket, nowMs: number): void {
    const { event } = packet;
    const key = echoKey(event.src.ip, event.dst.ip, event.icmp);
    // Its fate is told: there is no answer to wait for.
    if (event.drop !== undefined) {
      this.#waiting.delete(key);
      return;
    }
    const known = this.#waiting.get(key);
    if ((event.amends === true && known === undefined) || this.#ended.has(key)) return;
    this.#waiting.set(key, { packet, sinceMs: known?.sinceMs ?? nowMs });
    if (this.#waiting.size <= this.#limit) return;
    const oldest = this.#waiting.keys().next().value;
    if (oldest !== undefined) this.#waiting.delete(oldest);
    this.evicted += 1;
  }

  #reply(reply: AssembledPacket, nowMs: number): void {
    const { event } = reply;
    const tuple = translatedTuple(event);
    const request = this.#end(echoKey(tuple.dst, tuple.src, event.icmp), nowMs);
    if (request === undefined || event.icmp === undefined) return;
    event.icmp.rttUs = Math.round(Number(reply.lastNs - request.packet.firstNs) / 1000);
  }

  /** A redirect refuses nothing: the packet went on. */
  #error({ name, about }: IcmpFacts, nowMs: number): void {
    if (about?.seq === undefined || about.dir === 'reply' || name.startsWith('redirect')) return;
    this.#end(echoKey(about.src.ip, about.dst.ip, about), nowMs);
  }

  /** Its request, which waits no longer; one that is told only later will not wait. */
  #end(key: string, nowMs: number): Waiting | undefined {
    const request = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (request !== undefined) return request;
    this.#ended.set(key, nowMs);
    const oldest = this.#ended.keys().next().value;
    if (this.#ended.size > this.#limit && oldest !== undefined) this.#ended.delete(oldest);
    return undefined;
  }
}

function echoKey(requester: string, asked: string, echo: { id?: number; seq?: number } | undefined): string {
  return `${requester}|${asked}|${echo?.id}|${echo?.seq}`;
}

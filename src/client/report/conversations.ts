import type { Counts, Endpoint, FlowEvent, PacketEvent, QuotedFlow, Translation } from '../../event/types.ts';
import { exitTuple } from '../merge/packet.ts';
import { dropOldest } from './drop-oldest.ts';
import type { Way } from './ways.ts';

/** Both directions of a conversation, from all that was told of it. */
export interface Conversation {
  proto: string;
  /** As its initiator asked, before translation. */
  src: Endpoint;
  dst: Endpoint;
  /** What was done to a request. */
  nat: Translation[];
  /** Packets that have a record of their own. */
  told: Counts;
  /** As the kernel counted; undefined where no record of the conversation itself came. */
  counted: { packets: Counts; bytes: Counts } | undefined;
  isClosed: boolean;
  drops: number;
  errors: number;
  unanswered: number;
  resets: number;
  first: string;
  last: string;
  ways: Set<Way>;
}

/** Did something go wrong that a record says? */
export function isTroubled({ drops, errors, unanswered }: Pick<Conversation, 'drops' | 'errors' | 'unanswered'>): boolean {
  return drops > 0 || errors > 0 || unanswered > 0;
}

type Ends = Pick<PacketEvent, 'proto' | 'src' | 'dst' | 'dir'> & { nat?: Translation[] };

interface Held {
  conversation: Conversation;
  askedKey: string;
  /** The record of it that was counted last. */
  counter: FlowEvent | undefined;
}

/** Puts the records of one conversation together, for so many conversations at one time. */
export class Conversations {
  /** How many were told apart, and how many of them were let go while they went on: they count twice when they come back. */
  begun = 0;
  letGo = 0;
  readonly #most: number;
  readonly #close: (conversation: Conversation) => void;
  readonly #held = new Map<string, Held>();
  /** What was asked for, before translation, to what is held. */
  readonly #asked = new Map<string, string>();

  /** `close` takes a conversation that is not held any more. */
  constructor(most: number, close: (conversation: Conversation) => void) {
    this.#most = most;
    this.#close = close;
  }

  ofPacket(event: PacketEvent): Conversation {
    return this.#touch(event, event.time, event.time).conversation;
  }

  /** The conversation that an ICMP error is about. */
  ofQuoted({ proto, src, dst, dir = 'request', nat }: QuotedFlow, time: string): Conversation {
    return this.#touch({ proto, src, dst, dir, ...(nat === undefined ? {} : { nat }) }, time, time).conversation;
  }

  /** Takes in how far the kernel has counted; counts grow while a conversation goes on. */
  count(event: FlowEvent): Conversation {
    const held = this.#touch({ ...event, dir: 'request' }, event.startTime, event.endTime);
    const { conversation, counter } = held;
    conversation.isClosed = event.state === 'close';
    if (event.counted === false) return conversation;
    const before = counter !== undefined && isSame(counter, event) ? counter : undefined;
    conversation.counted ??= { packets: { request: 0, reply: 0 }, bytes: { request: 0, reply: 0 } };
    for (const unit of ['packets', 'bytes'] as const) {
      for (const dir of ['request', 'reply'] as const) {
        conversation.counted[unit][dir] += Math.max(0, event[unit][dir] - (before?.[unit][dir] ?? 0));
      }
    }
    if (before === undefined || event.endTime >= before.endTime) held.counter = event;
    return conversation;
  }

  /** Lets go of all of them. */
  end(): void {
    for (const { conversation } of this.#held.values()) this.#close(conversation);
    this.#held.clear();
    this.#asked.clear();
  }

  #touch(ends: Ends, first: string, last: string): Held {
    const asked = askedEnds(ends);
    const askedKey = keyOf(ends.proto, asked.src, asked.dst);
    const wire = wireEnds(ends);
    const wireKey = keyOf(ends.proto, wire.src, wire.dst);
    // A packet that was dropped before it was translated belongs to those of the same ends that were not.
    const key = this.#held.has(wireKey) || (ends.nat ?? []).length > 0 ? wireKey : (this.#asked.get(askedKey) ?? wireKey);
    const held = this.#held.get(key) ?? this.#begin(ends.proto, asked, first, askedKey);
    this.#held.delete(key);
    this.#held.set(key, held);
    improve(held.conversation, asked, ends);
    if (held.conversation.nat.length > 0) {
      held.askedKey = askedKey;
      this.#asked.set(askedKey, key);
    }
    if (first < held.conversation.first) held.conversation.first = first;
    if (last > held.conversation.last) held.conversation.last = last;
    dropOldest(this.#held, this.#most, (gone, one) => this.#letGo(gone, one));
    return held;
  }

  #begin(proto: string, { src, dst }: { src: Endpoint; dst: Endpoint }, time: string, askedKey: string): Held {
    this.begun += 1;
    const conversation: Conversation = {
      ...{ proto, src, dst, nat: [], told: { request: 0, reply: 0 }, counted: undefined, isClosed: false },
      ...{ drops: 0, errors: 0, unanswered: 0, resets: 0, first: time, last: time, ways: new Set() },
    };
    return { conversation, askedKey, counter: undefined };
  }

  #letGo(key: string, { conversation, askedKey }: Held): void {
    if (this.#asked.get(askedKey) === key) this.#asked.delete(askedKey);
    if (!conversation.isClosed) this.letGo += 1;
    this.#close(conversation);
  }
}

/** Who began, and what for, before translation. A reply's way back is undone by its own translation. */
function askedEnds(ends: Ends): { src: Endpoint; dst: Endpoint } {
  if (ends.dir === 'request') return { src: ends.src, dst: ends.dst };
  const { src, dst } = exitTuple(ends);
  return { src: dst, dst: src };
}

/** The same for both directions on every node: the initiator's and the peer's address between their translations. */
function wireEnds(ends: Ends): { src: Endpoint; dst: Endpoint } {
  return ends.dir === 'request' ? exitTuple(ends) : { src: ends.dst, dst: ends.src };
}

function keyOf(proto: string, src: Endpoint, dst: Endpoint): string {
  return JSON.stringify([proto, src.ip, src.port, dst.ip, dst.port]);
}

/** Both ends' nodes count one conversation; a new one may have the ports of one that is over. */
function isSame(counter: FlowEvent, event: FlowEvent): boolean {
  return counter.id === event.id || (counter.node !== event.node && event.startTime <= counter.endTime);
}

/** Takes what a record knows better. */
function improve(conversation: Conversation, asked: { src: Endpoint; dst: Endpoint }, { dir, nat = [] }: Ends): void {
  if (conversation.nat.length === 0 && nat.length > 0) {
    conversation.src = asked.src;
    conversation.dst = asked.dst;
    const back = nat.map((one) => ({ ...one, before: one.after, after: one.before }));
    conversation.nat = dir === 'request' ? nat : back.reverse();
  }
  for (const end of ['src', 'dst'] as const) {
    if (!isNamed(conversation[end]) && isNamed(asked[end]) && conversation[end].ip === asked[end].ip)
      conversation[end] = asked[end];
  }
}

function isNamed({ pod, service, node }: Endpoint): boolean {
  return pod !== undefined || service !== undefined || node !== undefined;
}

import type {
  Drop,
  Endpoint,
  IcmpFacts,
  KtraceEvent,
  LostEvent,
  NoticeEvent,
  PacketEvent,
  Translation,
} from '../../event/types.ts';
import { type Conversation, Conversations } from './conversations.ts';
import { dropOldest } from './drop-oldest.ts';
import { REPORT_LIMITS, type ReportLimits } from './limits.ts';
import { PeersTable } from './peers.ts';
import { Tally } from './tally.ts';
import { type BarKind, Timeline } from './timeline.ts';
import { type Way, Ways } from './ways.ts';

/** Ends of a packet that was dropped, and where. */
export interface DropGroup {
  drop: Drop;
  node: string | undefined;
  proto: string;
  src: Endpoint;
  dst: Endpoint;
}

export interface ErrorGroup {
  icmp: IcmpFacts;
  src: Endpoint;
  dst: Endpoint;
}

/** What one packet was counted as, so that it can be taken back when more is known of it. */
interface Counted {
  time: string;
  kind: BarKind;
  dir: PacketEvent['dir'];
  conversation: Conversation;
  way: Way | undefined;
  isReset: boolean;
  isUnanswered: boolean;
  dropKey: string | undefined;
  errorKey: string | undefined;
  natKeys: string[];
}

/** A dump's records, summed up in bounded memory. What is in no list is counted beside it. */
export class Report {
  readonly limits: ReportLimits;
  readonly totals = { packets: 0, flowRecords: 0, dropped: 0, errors: 0, unanswered: 0, translated: 0, lost: 0 };
  first: string | undefined;
  last: string | undefined;
  readonly conversations: Conversations;
  readonly peers: PeersTable;
  readonly ways: Ways;
  readonly timeline: Timeline;
  readonly drops: Tally<DropGroup>;
  readonly errors: Tally<ErrorGroup>;
  readonly translations: Tally<Translation>;
  readonly lost: Tally<LostEvent>;
  readonly notices: Tally<NoticeEvent>;
  readonly #counted = new Map<string, Counted>();
  readonly #packets = new Map<string, PacketEvent>();

  constructor(limits: ReportLimits = REPORT_LIMITS) {
    this.limits = limits;
    this.peers = new PeersTable(limits.heldRows, limits.shownConversations);
    this.conversations = new Conversations(limits.conversations, (conversation) => this.peers.add(conversation));
    this.ways = new Ways(limits.heldWays);
    this.timeline = new Timeline(limits.bars);
    this.drops = new Tally(limits.heldRows);
    this.errors = new Tally(limits.heldRows);
    this.translations = new Tally(limits.heldRows);
    this.lost = new Tally(limits.heldRows);
    this.notices = new Tally(limits.heldRows);
  }

  add(event: KtraceEvent): void {
    switch (event.kind) {
      case 'packet':
        this.#addPacket(event);
        return;
      case 'flow':
        this.totals.flowRecords += 1;
        this.conversations.count(event);
        this.#touch(event.startTime);
        this.#touch(event.endTime);
        return;
      case 'lost': {
        const { node, stage, pod, count, to } = event;
        this.totals.lost += count;
        this.lost.add(JSON.stringify([node, stage, pod?.namespace, pod?.name]), to, () => event, count);
        return;
      }
      case 'notice': {
        const { node, level, code, text, interfaces } = event;
        this.notices.add(JSON.stringify([node, level, code, text, interfaces]), '', () => event);
      }
    }
  }

  /** No record comes any more. */
  end(): void {
    this.conversations.end();
    this.#counted.clear();
  }

  /** The last ones that were told, in that order. */
  get lastPackets(): PacketEvent[] {
    return [...this.#packets.values()];
  }

  #addPacket(event: PacketEvent): void {
    const before = event.amends === true ? this.#counted.get(event.id) : undefined;
    if (before !== undefined) this.#take(before);
    const counted = this.#count(event);
    this.#counted.delete(event.id);
    this.#counted.set(event.id, counted);
    dropOldest(this.#counted, this.limits.amendable);
    if (before === undefined || this.#packets.has(event.id)) this.#packets.set(event.id, event);
    if (this.#packets.size > this.limits.shownPackets) this.#packets.delete(this.#packets.keys().next().value as string);
    this.#touch(event.time);
  }

  #count(event: PacketEvent): Counted {
    const { time, dir, icmp, drop, unanswered, nat = [], tcp, proto, src, dst } = event;
    const about = icmp?.about;
    const conversation = about === undefined ? this.conversations.ofPacket(event) : this.conversations.ofQuoted(about, time);
    const way = this.ways.add(event);
    if (way !== undefined) conversation.ways.add(way);
    const node = drop === undefined ? undefined : (event.hops.at(-1)?.node ?? event.nodes.at(-1));
    const isUnanswered = unanswered !== undefined;
    const counted: Counted = {
      ...{ time, dir, conversation, way, isUnanswered },
      kind: drop !== undefined ? 'dropped' : about !== undefined ? 'error' : isUnanswered ? 'unanswered' : 'told',
      isReset: tcp?.flags.includes('R') === true,
      dropKey: drop === undefined ? undefined : JSON.stringify([drop, node, proto, src.ip, dst.ip, dst.port]),
      errorKey: icmp === undefined || about === undefined ? undefined : errorKey(icmp, src, dst),
      natKeys: nat.map((translation) => translationKey(asRequested(translation, dir))),
    };
    if (drop !== undefined) this.drops.add(counted.dropKey ?? '', time, () => ({ drop, node, proto, src, dst }));
    if (icmp !== undefined && about !== undefined) this.errors.add(counted.errorKey ?? '', time, () => ({ icmp, src, dst }));
    for (const [at, key] of counted.natKeys.entries()) {
      const translation = nat[at];
      if (translation !== undefined) this.translations.add(key, time, () => asRequested(translation, dir));
    }
    this.#sum(counted, 1);
    return counted;
  }

  #take(counted: Counted): void {
    this.ways.remove(counted.way);
    if (counted.dropKey !== undefined) this.drops.remove(counted.dropKey);
    if (counted.errorKey !== undefined) this.errors.remove(counted.errorKey);
    for (const key of counted.natKeys) this.translations.remove(key);
    this.#sum(counted, -1);
  }

  #sum({ time, kind, dir, conversation, isReset, isUnanswered, dropKey, errorKey, natKeys }: Counted, by: 1 | -1): void {
    this.totals.packets += by;
    if (errorKey === undefined) conversation.told[dir] += by;
    else {
      this.totals.errors += by;
      conversation.errors += by;
    }
    if (dropKey !== undefined) {
      this.totals.dropped += by;
      conversation.drops += by;
    }
    if (isUnanswered) {
      this.totals.unanswered += by;
      conversation.unanswered += by;
    }
    if (natKeys.length > 0) this.totals.translated += by;
    if (isReset) conversation.resets += by;
    this.timeline.add(time, kind, by);
  }

  #touch(time: string): void {
    if (this.first === undefined || time < this.first) this.first = time;
    if (this.last === undefined || time > this.last) this.last = time;
  }
}

/** What a client's new port changes is the same error. */
function errorKey({ name, code, mtu, by, about }: IcmpFacts, src: Endpoint, dst: Endpoint): string {
  return JSON.stringify([
    name,
    code,
    mtu,
    by?.node,
    by?.if,
    src.ip,
    dst.ip,
    about?.proto,
    about?.src.ip,
    about?.dst.ip,
    about?.dst.port,
  ]);
}

/** A reply's way back is the request's translation, the other way around. */
function asRequested(translation: Translation, dir: PacketEvent['dir']): Translation {
  return dir === 'request' ? translation : { ...translation, before: translation.after, after: translation.before };
}

/** Ports of the initiator change with each connection; those of a Service and of its endpoints say which they are. */
function translationKey({ kind, before, after, service }: Translation): string {
  return JSON.stringify([kind, before.ip, after.ip, ...(kind === 'dnat' ? [before.port, after.port] : []), service]);
}

import type { Counts, Endpoint } from '../../event/types.ts';
import { type Conversation, isTroubled } from './conversations.ts';
import { type Way, whose } from './ways.ts';

/** All conversations of one kind between the same two: who asked, whom, and for which port. */
export interface Peers {
  proto: string;
  src: Endpoint;
  dst: Endpoint;
  conversations: number;
  told: Counts;
  /** As the kernel counted, of those conversations of which a count came; `isCounted`: of any. */
  packets: Counts;
  bytes: Counts;
  isCounted: boolean;
  drops: number;
  errors: number;
  unanswered: number;
  resets: number;
  /** Conversations of which the kernel counted requests and no reply. */
  silent: number;
  first: string;
  last: string;
  /** Those that are listed: troubled ones come first into the list. */
  listed: Conversation[];
  ways: Set<Way>;
}

/** Sums up conversations by peers; what finds no row is one sum. */
export class PeersTable {
  readonly #held: number;
  readonly #shownConversations: number;
  readonly #rows = new Map<string, Peers>();
  #rest: Peers | undefined;

  constructor(held: number, shownConversations: number) {
    this.#held = held;
    this.#shownConversations = shownConversations;
  }

  add(conversation: Conversation): void {
    const { proto, src, dst } = conversation;
    const key = JSON.stringify([proto, whose(src), whose(dst), dst.port]);
    const known = this.#rows.get(key);
    // A third of the room is kept for those with trouble.
    const hasRoom = this.#rows.size < (isTroubled(conversation) ? this.#held : (this.#held * 2) / 3);
    const row = known ?? (hasRoom ? emptyPeers(conversation) : this.#rest) ?? emptyPeers(conversation);
    if (known === undefined && hasRoom) this.#rows.set(key, row);
    if (known === undefined && !hasRoom) this.#rest = row;
    sumUp(row, conversation);
    if (row !== this.#rest) list(row, conversation, this.#shownConversations);
  }

  /** Those with trouble first, then those with most packets; and the sum of all that are not shown. */
  shown(most: number): { rows: Peers[]; leftOut: { rows: number; conversations: number; told: number } } {
    const rows = [...this.#rows.values()].sort((a, b) => Number(isTroubled(b)) - Number(isTroubled(a)) || weight(b) - weight(a));
    const hidden = [...rows.slice(most), ...(this.#rest === undefined ? [] : [this.#rest])];
    const sum = (of: (row: Peers) => number): number => hidden.reduce((total, row) => total + of(row), 0);
    return {
      rows: rows.slice(0, most),
      leftOut: {
        rows: Math.max(0, rows.length - most),
        conversations: sum(({ conversations }) => conversations),
        told: sum(({ told }) => told.request + told.reply),
      },
    };
  }
}

function weight({ packets, told }: Peers): number {
  return Math.max(packets.request + packets.reply, told.request + told.reply);
}

function emptyPeers({ proto, src, dst, first, last }: Conversation): Peers {
  const none = (): Counts => ({ request: 0, reply: 0 });
  return {
    ...{ proto, src, dst, conversations: 0, told: none(), packets: none(), bytes: none(), isCounted: false },
    ...{ drops: 0, errors: 0, unanswered: 0, resets: 0, silent: 0, first, last, listed: [], ways: new Set() },
  };
}

function sumUp(row: Peers, conversation: Conversation): void {
  const { told, counted, drops, errors, unanswered, resets, first, last, ways } = conversation;
  row.conversations += 1;
  for (const dir of ['request', 'reply'] as const) {
    row.told[dir] += told[dir];
    row.packets[dir] += counted?.packets[dir] ?? 0;
    row.bytes[dir] += counted?.bytes[dir] ?? 0;
  }
  row.isCounted ||= counted !== undefined;
  row.drops += drops;
  row.errors += errors;
  row.unanswered += unanswered;
  row.resets += resets;
  if (isSilent(conversation)) row.silent += 1;
  if (first < row.first) row.first = first;
  if (last > row.last) row.last = last;
  for (const way of ways) if (way.count > 0) row.ways.add(way);
}

/** Asked, and nothing came back. */
export function isSilent({ counted, told }: Conversation): boolean {
  return counted !== undefined && counted.packets.request > 0 && counted.packets.reply + told.reply === 0;
}

function list({ listed }: Peers, conversation: Conversation, most: number): void {
  if (listed.length < most) listed.push(conversation);
  else if (isTroubled(conversation)) {
    const at = listed.findLastIndex((one) => !isTroubled(one));
    if (at >= 0) listed[at] = conversation;
  }
}

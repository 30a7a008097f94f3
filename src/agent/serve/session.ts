import { redact } from '../../access/redact.ts';
import { covers, type Scope } from '../../access/scope.ts';
import type { Resolved, Subscription } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import type { AgentMessage } from '../../protocol/messages.ts';
import type { Access } from '../access/authorizer.ts';
import { Disguise } from '../access/disguise.ts';
import { withHeaders } from '../access/headers.ts';
import type { Limits } from '../access/limits.ts';
import type { Feed, Follower, Sink } from '../pipeline/feed.ts';
import { SessionFilter } from '../pipeline/session-filter.ts';
import { SentBatches } from './sent-batches.ts';
import { type QueueCounts, SessionQueue } from './session-queue.ts';
import { Shortages } from './shortages.ts';

/** The connection that a session speaks through. */
export interface Wire {
  send(message: AgentMessage): void;
  /** Sends a message's text. `taken` is called when the kernel has taken it or the connection has broken. */
  sendText(text: string, taken: () => void): void;
  /** Bytes sent that the kernel has not taken yet. */
  bufferedBytes(): number;
  /** Says `bye` and closes the connection, because the session has ended. */
  bye(reason: string): void;
}

export interface SessionOptions {
  /** Names the stream to the client, who resumes by it; must not be guessable. */
  id: string;
  feed: Feed;
  subscription: Subscription;
  access: Access;
  limits: Limits;
  /** How many bytes this session may hold: its share of what all sessions may. */
  shareBytes(): number;
  encode(event: KtraceEvent): string;
  counts: QueueCounts;
  /** A record was withheld: the reader may see neither end of it. */
  onWithheld(): void;
  /** The filter did not match a record. `isUndecided`: the filter reads bytes that were not captured of the packet. */
  onFiltered(isUndecided: boolean): void;
  now(): string;
  onStalled(session: Session): void;
}

/**
 * A follower of the feed for a client, which may lose its connection and resume on another one. Events wait in a bounded queue, are sent in batches as far
 * as the client has granted credits, and are kept until the client acknowledges them.
 */
export class Session implements Sink {
  readonly id: string;
  readonly #options: SessionOptions;
  readonly #queue: SessionQueue;
  readonly #sent: SentBatches;
  readonly #shortages: Shortages;
  readonly #follower: Follower;
  readonly #disguise = new Disguise();
  #access: Access;
  #subscription: Subscription;
  #filter: SessionFilter | undefined;
  #wantsHeaders: boolean;
  #wire: Wire | undefined;
  #resolved: Resolved = { pods: [], addresses: [] };
  #resolvedIsDue = false;
  #hasAnswered = false;
  #seq = 0;
  #credits = 0;
  #flushIsDue = false;
  #stallTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SessionOptions) {
    const { feed, limits, subscription, encode, counts, now, shareBytes } = options;
    this.id = options.id;
    this.#options = options;
    this.#access = options.access;
    this.#filter = this.#filterOf(subscription);
    this.#wantsHeaders = subscription.headers === true;
    this.#queue = new SessionQueue({
      node: feed.node,
      maxEvents: limits.queueEvents,
      // Two thirds of the share are for waiting events, one third for sent ones.
      maxBytes: () => Math.min(limits.queueBytes, (shareBytes() * 2) / 3),
      encode,
      now,
      counts,
    });
    this.#shortages = new Shortages({
      node: feed.node,
      notice: (notice) => this.#queue.push(notice),
      send: (told) => this.#wire?.send(told),
    });
    this.#sent = new SentBatches(() => Math.min(limits.sentBytes, shareBytes() / 3));
    this.#subscription = subscription;
    this.#follower = feed.follow(subscription, this, this.#access.allowed);
  }

  get isAttached(): boolean {
    return this.#wire !== undefined;
  }

  /** Events and bytes held now. */
  held(): { events: number; bytes: number } {
    return { events: this.#queue.length, bytes: this.#queue.bytes + this.#sent.bytes };
  }

  event(event: KtraceEvent, captured?: readonly Uint8Array[]): void {
    if (this.#closed) return;
    // Before redaction, which removes the bytes too where they quote a withheld flow.
    const told = this.#wantsHeaders ? withHeaders(event, captured) : event;
    const seen = redact(told, this.#access.allowed);
    if (seen === undefined) {
      this.#options.onWithheld();
      return;
    }
    const shown = this.#disguised(seen, told);
    const passed = this.#filter === undefined ? shown : this.#filtered(this.#filter, shown, told, captured);
    if (passed === undefined) return;
    this.#queue.push(passed);
    this.#flushSoon();
  }

  /** The filter reads the redacted record: else whether it matches would reveal what was withheld. */
  #filtered(
    filter: SessionFilter,
    seen: KtraceEvent,
    event: KtraceEvent,
    captured: readonly Uint8Array[] | undefined,
  ): KtraceEvent | undefined {
    const { passed, wantsBytes } = filter.pass(seen, event, captured);
    if (passed !== undefined) return passed;
    this.#options.onFiltered(wantsBytes !== undefined);
    if (wantsBytes !== undefined) this.#shortages.add(wantsBytes);
    return undefined;
  }

  #filterOf({ filter }: Subscription): SessionFilter | undefined {
    const { feed } = this.#options;
    return filter === undefined ? undefined : new SessionFilter(filter, { node: feed.node, vxlanPort: () => feed.vxlanPort() });
  }

  /** A node numbers its records in one sequence for all followers. Ids of redacted records are disguised, so that gaps do not reveal how many there are for others. */
  #disguised(seen: KtraceEvent, event: KtraceEvent): KtraceEvent {
    if (seen === event || !('id' in seen)) return seen;
    return { ...seen, id: this.#disguise.of(seen.id) };
  }

  resolved(resolved: Resolved): void {
    if (this.#closed) return;
    this.#resolved = shownPods(resolved, this.#access.allowed);
    this.#resolvedIsDue = this.#wire !== undefined;
    this.#flushSoon();
  }

  /** Whether a client with this access may resume the stream: what waits in it was redacted for the former access. */
  isOf(access: Access): boolean {
    if (this.#access.payloads === true && access.payloads !== true) return false;
    return access.accounts.join(' ') === this.identity && covers(access.allowed, this.#access.allowed);
  }

  /** The accounts that give the client its rights; none where authorization is off. */
  get accounts(): readonly string[] {
    return this.#access.accounts;
  }

  /** The accounts as one name; empty where authorization is off. */
  get identity(): string {
    return this.accounts.join(' ');
  }

  /** Sets what the client may see from now on. */
  allow(access: Access): void {
    const { allowed } = this.#access;
    this.#access = access;
    const isSame = covers(allowed, access.allowed) && covers(access.allowed, allowed);
    if (!isSame) this.#follower.update(this.#subscription, access.allowed);
  }

  /** Changes what is followed and what of it may be seen. The stream continues. */
  update(subscription: Subscription, access: Access): void {
    const filter = this.#filterOf(subscription);
    this.#access = access;
    this.#filter = filter;
    this.#wantsHeaders = subscription.headers === true;
    this.#subscription = subscription;
    this.#follower.update(subscription, access.allowed);
    this.#answer(0);
  }

  /** Answers a subscription that was replaced by a newer one: the client counts the answers. */
  answer(): void {
    this.#answer(0);
  }

  /** The first connection of a new session. */
  attach(wire: Wire): void {
    this.#wire = wire;
    this.#answer(0);
  }

  /**
   * Continues after batch `seq` on another connection: later batches are sent again, and a former connection that is still open is closed. False when
   * those batches are not known any more; then the session cannot be used.
   */
  resume(wire: Wire, seq: number, subscription: Subscription, access: Access): boolean {
    const filter = this.#filterOf(subscription);
    const again = seq <= this.#seq ? this.#sent.takeAfter(seq) : undefined;
    if (!again) return false;
    this.#access = access;
    this.#filter = filter;
    this.#wantsHeaders = subscription.headers === true;
    this.#subscription = subscription;
    this.#follower.update(subscription, access.allowed);
    const left = this.#wire;
    if (left) this.detach(left);
    left?.bye('the session goes on over another connection');
    this.#queue.putBack(again.entries);
    this.#seq = seq;
    this.#wire = wire;
    this.#answer(again.missed);
    return true;
  }

  /** The connection has broken: events wait from now on. False when the session already has another connection. */
  detach(wire: Wire): boolean {
    if (this.#wire !== wire) return false;
    this.#wire = undefined;
    this.#credits = 0;
    this.#stopStallTimer();
    return true;
  }

  credit(events: number, acknowledged: number | undefined): void {
    if (acknowledged !== undefined) this.#sent.acknowledge(Math.min(acknowledged, this.#seq));
    this.#credits += events;
    this.#flushSoon();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wire = undefined;
    this.#stopStallTimer();
    this.#shortages.close();
    this.#follower.close();
    this.#queue.discard();
  }

  /** Ends the session, and says so to its client. */
  bye(reason: string): void {
    const wire = this.#wire;
    this.close();
    wire?.bye(reason);
  }

  #answer(missed: number): void {
    this.#resolvedIsDue = false;
    this.#wire?.send({
      type: 'subscribed',
      session: this.id,
      resumed: this.#hasAnswered,
      missed,
      resolved: this.#resolved,
    });
    this.#hasAnswered = true;
    this.#shortages.tell();
    this.#flushSoon();
  }

  /** Sends all events of one turn of the loop (of one wake-up of the ring) together. */
  #flushSoon(): void {
    if (this.#flushIsDue || !this.#wire) return;
    this.#flushIsDue = true;
    setImmediate(() => {
      this.#flushIsDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    const wire = this.#wire;
    if (!wire) return;
    const { limits } = this.#options;
    if (this.#resolvedIsDue && wire.bufferedBytes() < limits.socketBytes) {
      this.#resolvedIsDue = false;
      wire.send({ type: 'resolved', resolved: this.#resolved });
    }
    let progressed = false;
    while (this.#queue.length > 0 && this.#credits > 0 && wire.bufferedBytes() < limits.socketBytes) {
      this.#sendBatch(wire);
      progressed = true;
    }
    if (progressed || this.#queue.length === 0) this.#stopStallTimer();
    if (this.#queue.length > 0) this.#startStallTimer();
  }

  #sendBatch(wire: Wire): void {
    const { limits } = this.#options;
    const entries = this.#queue.take(Math.min(this.#credits, limits.batchEvents), limits.batchBytes);
    this.#credits -= entries.length;
    this.#seq += 1;
    this.#sent.add(this.#seq, entries);
    const events = entries.map((entry) => entry.json);
    // Put together once: a text around the joined one would be copied again when it is sent.
    events[0] = `{"type":"events","seq":${this.#seq},"events":[${events[0] ?? ''}`;
    events[events.length - 1] += ']}';
    wire.sendText(events.join(','), () => this.#flushSoon());
  }

  #startStallTimer(): void {
    this.#stallTimer ??= setTimeout(() => this.#options.onStalled(this), this.#options.limits.stallMs).unref();
  }

  #stopStallTimer(): void {
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
  }
}

/** Removes pods of other namespaces: the check of the targets has not seen what they resolve to. */
function shownPods(resolved: Resolved, allowed: Scope): Resolved {
  if (allowed === 'all') return resolved;
  return { ...resolved, pods: resolved.pods.filter(({ namespace }) => allowed.has(namespace)) };
}

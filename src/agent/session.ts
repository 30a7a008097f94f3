import { createHash } from 'node:crypto';
import { redact } from '../access/redact.ts';
import { covers, type Scope } from '../access/scope.ts';
import type { Resolved, Subscription } from '../event/target.ts';
import type { KtraceEvent } from '../event/types.ts';
import type { AgentMessage } from '../protocol/messages.ts';
import type { Access } from './authorizer.ts';
import type { Feed, Follower, Sink } from './feed.ts';
import { withHeaders } from './headers.ts';
import type { Limits } from './limits.ts';
import { SentBatches } from './sent-batches.ts';
import { SessionFilter } from './session-filter.ts';
import { type QueueCounts, SessionQueue } from './session-queue.ts';
import { Shortages } from './shortages.ts';

/** The connection that a session speaks through. */
export interface Wire {
  send(message: AgentMessage): void;
  /** Sends the text of a message; `taken` is called when the kernel has it, or the connection broke. */
  sendText(text: string, taken: () => void): void;
  /** Bytes handed over that the kernel has not taken. */
  bufferedBytes(): number;
  /** The session has ended: says `bye` and closes. */
  bye(reason: string): void;
}

export interface SessionOptions {
  /** Names the stream towards the client; not to be guessed. */
  id: string;
  feed: Feed;
  subscription: Subscription;
  access: Access;
  limits: Limits;
  /** Bytes that this session may hold, as its share of what all may. */
  shareBytes(): number;
  encode(event: KtraceEvent): string;
  counts: QueueCounts;
  /** A record was not shown because no end of it is the reader's to see. */
  onWithheld(): void;
  /** A record was not told because of the filter; `isUndecided`: it reads bytes that the packet has and that were not captured. */
  onFiltered(isUndecided: boolean): void;
  now(): string;
  onStalled(session: Session): void;
}

/**
 * One follower of the feed and the client behind it, who may lose the connection and come back. Events wait in a bounded queue,
 * leave in batches within the client's credits, and are kept until the client has acknowledged them.
 */
export class Session implements Sink {
  readonly id: string;
  readonly #options: SessionOptions;
  readonly #queue: SessionQueue;
  readonly #sent: SentBatches;
  readonly #shortages: Shortages;
  readonly #follower: Follower;
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
      // Two thirds of its share for what waits and one for what was sent.
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

  /** Events and bytes held at this moment. */
  held(): { events: number; bytes: number } {
    return { events: this.#queue.length, bytes: this.#queue.bytes + this.#sent.bytes };
  }

  event(event: KtraceEvent, captured?: readonly Uint8Array[]): void {
    if (this.#closed) return;
    // Before it is redacted: a flow that is withheld may be quoted in the bytes.
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

  /** A filter sees what its follower may see: judged by what is withheld, it would tell it. */
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

  /** Ids are counted up over all that a node tells anybody: whoever sees a part must not read the rest out of the gaps. */
  #disguised(seen: KtraceEvent, event: KtraceEvent): KtraceEvent {
    if (seen === event || !('id' in seen)) return seen;
    return { ...seen, id: createHash('sha256').update(`${this.id} ${seen.id}`).digest('base64url').slice(0, 16) };
  }

  resolved(resolved: Resolved): void {
    if (this.#closed) return;
    this.#resolved = shownPods(resolved, this.#access.allowed);
    this.#resolvedIsDue = this.#wire !== undefined;
    this.#flushSoon();
  }

  /** Whether a stream may go on for whoever has this access: what waits in it was made for another otherwise. */
  isOf(access: Access): boolean {
    if (this.#access.payloads === true && access.payloads !== true) return false;
    return access.identity === this.#access.identity && covers(access.allowed, this.#access.allowed);
  }

  /** Whose it is; empty where nobody asks. */
  get identity(): string {
    return this.#access.identity;
  }

  /** What may be seen from now on. */
  allow(access: Access): void {
    const { allowed } = this.#access;
    this.#access = access;
    const isSame = covers(allowed, access.allowed) && covers(access.allowed, allowed);
    if (!isSame) this.#follower.update(this.#subscription, access.allowed);
  }

  /** Changes what is followed, and what of it may be seen; the stream goes on. */
  update(subscription: Subscription, access: Access): void {
    const filter = this.#filterOf(subscription);
    this.#access = access;
    this.#filter = filter;
    this.#wantsHeaders = subscription.headers === true;
    this.#subscription = subscription;
    this.#follower.update(subscription, access.allowed);
    this.#answer(0);
  }

  /** Answers a subscription that a newer one has overtaken. */
  answer(): void {
    this.#answer(0);
  }

  /** Gives a new session its first connection. */
  attach(wire: Wire): void {
    this.#wire = wire;
    this.#answer(0);
  }

  /**
   * Goes on behind batch `seq` on another connection: what was sent after it is sent again, and a connection that still stands is left.
   * False when it cannot be told what came after `seq`; then the session is of no use any more.
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

  /** The connection broke: from now on events only wait. False when the session speaks through another one already. */
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

  /** Ends the session and tells its client. */
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

  /** All events of one turn of the loop (one wake-up of the ring) leave together. */
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
    const events = entries.map((entry) => entry.json).join(',');
    wire.sendText(`{"type":"events","seq":${this.#seq},"events":[${events}]}`, () => this.#flushSoon());
  }

  #startStallTimer(): void {
    this.#stallTimer ??= setTimeout(() => this.#options.onStalled(this), this.#options.limits.stallMs).unref();
  }

  #stopStallTimer(): void {
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
  }
}

/** Targets are held to what is allowed before; this holds what they were found to stand for to it, too. */
function shownPods(resolved: Resolved, allowed: Scope): Resolved {
  if (allowed === 'all') return resolved;
  return { ...resolved, pods: resolved.pods.filter(({ namespace }) => allowed.has(namespace)) };
}

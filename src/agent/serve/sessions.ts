import { randomUUID } from 'node:crypto';
import type { Subscription } from '../../event/target.ts';
import { KtraceError } from '../../util/errors.ts';
import { formatUnixNs } from '../../util/time.ts';
import type { Access } from '../access/authorizer.ts';
import type { Limits } from '../access/limits.ts';
import type { Feed } from '../pipeline/feed.ts';
import { createEncoder } from './encode.ts';
import { Session, type Wire } from './session.ts';
import type { QueueCounts } from './session-queue.ts';

export interface SessionCounts extends QueueCounts {
  opened: number;
  resumed: number;
  /** Asked to be resumed, and could not be. */
  notResumed: number;
  stalled: number;
  /** Records not shown to a session because no end of them is its to see. */
  withheld: number;
  /** Records that a session's filter did not let pass, those among them that it could not decide by the captured bytes. */
  filtered: number;
  undecided: number;
}

export interface Resume {
  instance: string;
  session: string;
  seq: number;
}

/** All sessions of an agent: those with a client, and those that wait for theirs to come back. */
export class Sessions {
  readonly counts: SessionCounts = {
    in: 0,
    out: 0,
    cut: 0,
    folded: 0,
    putBack: 0,
    discarded: 0,
    opened: 0,
    resumed: 0,
    notResumed: 0,
    stalled: 0,
    withheld: 0,
    filtered: 0,
    undecided: 0,
  };
  readonly #feed: Feed;
  readonly #limits: Limits;
  readonly #encode = createEncoder();
  readonly #sessions = new Map<string, Session>();
  /** Timers of the sessions without a client, in the order they lost theirs. */
  readonly #lingering = new Map<Session, NodeJS.Timeout>();

  constructor(feed: Feed, limits: Limits) {
    this.#feed = feed;
    this.#limits = limits;
  }

  /** Resumes the session that is asked for where that can be, else opens a new one; either way the client has been answered. */
  subscribe(subscription: Subscription, access: Access, resume: Resume | undefined, wire: Wire): Session {
    return (resume && this.#resume(subscription, access, resume, wire)) ?? this.#open(subscription, access, wire);
  }

  /** Changes what a session follows, and what of it may be seen. @throws KtraceError KTRACE_E_BUSY */
  update(session: Session, subscription: Subscription, access: Access): void {
    this.#makeRoomFor(access.accounts, session);
    session.update(subscription, access);
  }

  /** What may be seen of it from now on. @throws KtraceError KTRACE_E_BUSY */
  allow(session: Session, access: Access): void {
    this.#makeRoomFor(access.accounts, session);
    session.allow(access);
  }

  /** A connection has ended. When its client had not said that it is done, the session waits for it. */
  leave(session: Session, wire: Wire, isDone: boolean): void {
    if (!session.detach(wire)) return;
    if (isDone) {
      this.close(session);
      return;
    }
    this.#lingering.set(
      session,
      setTimeout(() => this.close(session), this.#limits.lingerMs),
    );
  }

  close(session: Session): void {
    this.#stopLingering(session);
    this.#sessions.delete(session.id);
    session.close();
  }

  closeAll(): void {
    for (const session of [...this.#sessions.values()]) this.close(session);
  }

  /** How many there are, and what they hold. */
  totals(): { attached: number; lingering: number; events: number; bytes: number } {
    const totals = { attached: 0, lingering: this.#lingering.size, events: 0, bytes: 0 };
    for (const session of this.#sessions.values()) {
      const held = session.held();
      totals.events += held.events;
      totals.bytes += held.bytes;
    }
    totals.attached = this.#sessions.size - totals.lingering;
    return totals;
  }

  #open(subscription: Subscription, access: Access, wire: Wire): Session {
    this.#makeRoomFor(access.accounts);
    this.#makeRoom();
    const session = new Session({
      id: randomUUID(),
      feed: this.#feed,
      subscription,
      access,
      limits: this.#limits,
      shareBytes: () => this.#limits.totalBytes / Math.max(1, this.#sessions.size),
      encode: this.#encode,
      counts: this.counts,
      onWithheld: () => {
        this.counts.withheld += 1;
      },
      onFiltered: (isUndecided) => {
        this.counts.filtered += 1;
        if (isUndecided) this.counts.undecided += 1;
      },
      now: () => formatUnixNs(this.#feed.nowNs()),
      onStalled: (stalled) => this.#endStalled(stalled),
    });
    this.#sessions.set(session.id, session);
    this.counts.opened += 1;
    session.attach(wire);
    return session;
  }

  #resume(subscription: Subscription, access: Access, resume: Resume, wire: Wire): Session | undefined {
    const found = resume.instance === this.#feed.instance ? this.#sessions.get(resume.session) : undefined;
    // Somebody else's stream is left to its owner.
    const session = found?.isOf(access) ? found : undefined;
    let goesOn = false;
    try {
      goesOn = session?.resume(wire, resume.seq, subscription, access) ?? false;
    } finally {
      // Also when the feed refuses the subscription: the stream has no owner any more.
      if (session && !goesOn) this.close(session);
    }
    this.counts[goesOn ? 'resumed' : 'notResumed'] += 1;
    if (!session || !goesOn) return undefined;
    this.#stopLingering(session);
    return session;
  }

  #stopLingering(session: Session): void {
    clearTimeout(this.#lingering.get(session));
    this.#lingering.delete(session);
  }

  /**
   * Of one account's streams those leave first that wait for a lost client.
   * @param session is counted to these accounts already where it is theirs
   * @throws KtraceError KTRACE_E_BUSY when one has its share, each with a client
   */
  #makeRoomFor(accounts: readonly string[], session?: Session): void {
    const most = Math.ceil(this.#limits.clients / 4);
    const leaving = new Set<Session>();
    for (const account of accounts.filter((one) => session?.accounts.includes(one) !== true)) {
      const isOwn = (other: Session): boolean => other.accounts.includes(account) && !leaving.has(other);
      if ([...this.#sessions.values()].filter(isOwn).length < most) continue;
      const longest = [...this.#lingering.keys()].find(isOwn);
      if (longest === undefined) throw tooManyStreams(account, most);
      leaving.add(longest);
    }
    for (const longest of leaving) this.close(longest);
  }

  /** Who waits for a lost client leaves first when there are too many. Connections are limited on their own. */
  #makeRoom(): void {
    const [longest] = this.#lingering.keys();
    if (longest && this.#sessions.size >= this.#limits.clients) this.close(longest);
  }

  #endStalled(session: Session): void {
    this.counts.stalled += 1;
    this.#stopLingering(session);
    this.#sessions.delete(session.id);
    session.bye(`the client took no events for ${this.#limits.stallMs / 1000} s`);
  }
}

function tooManyStreams(account: string, most: number): KtraceError {
  return new KtraceError('KTRACE_E_BUSY', `${most} streams of ${account} are open, a quarter of what this agent serves`, {
    hint: 'End another follow, or raise --max-clients (KTRACE_MAX_CLIENTS).',
  });
}

import type { Duplex } from 'node:stream';
import type { Resolved, Subscription, Target } from '../../event/target.ts';
import type { KtraceEvent, LostStage, NoticeEvent } from '../../event/types.ts';
import type { KtraceError } from '../../util/errors.ts';
import { FollowFilter, type ReadFilter } from '../merge/follow-filter.ts';
import type { FollowStatus } from '../merge/follow-status.ts';
import { MERGE_DEFAULTS, Merge } from '../merge/merge.ts';
import { Undecided } from '../merge/undecided.ts';
import { corrections, WireClocks } from '../merge/wire-clocks.ts';
import { AgentConnection, type Arrival, type Timeouts } from '../wire/agent-connection.ts';
import type { ClockEstimate } from '../wire/clock.ts';
import { type FollowedNode, FollowingNotice, hostNetworkNodes } from './following-notice.ts';

export interface FollowingOptions {
  targets: Target[];
  units: Subscription['units'];
  /** Asks for the bytes of packets' headers. */
  headers?: boolean;
  /** Which of the targets' packets; all where it is not given. */
  filter?: ReadFilter | undefined;
  /** Bytes of each packet that are seen, and whether its hops bear them. */
  snapBytes?: number | undefined;
  data?: boolean;
  /** What says to the agents who asks, at this moment. */
  tokens?(): readonly string[];
  /** Makes a connection to a node's gate. */
  dial(node: string, signal: AbortSignal): Promise<Duplex>;
  /** An event for the reader, in order of time. */
  tell(event: KtraceEvent): void;
  /** This client's; agents of another one are told of. */
  version?: string;
  /** Nobody answers and nobody will: following has failed. */
  failed(error: KtraceError): void;
  /** The first agent follows. */
  began(): void;
  /** Unix milliseconds with fraction, of a clock that is never stepped. */
  nowMs(): number;
  timeouts?: Timeouts;
  random?(): number;
}

interface Followed {
  connection: AgentConnection;
  resolved: Resolved;
  state: FollowedNode['state'];
  /** Came when others were followed already. */
  isLate: boolean;
  downSince: string | undefined;
  firstError: KtraceError | undefined;
  /** It told events that cannot be read, and the reader knows. */
  isUnreadable: boolean;
  asked: string;
}

/** Events on their way or waiting, of all nodes together; a node has a share, with a least and a most. */
const WINDOW = { total: 65_536, least: 512, most: 4096 };
/** Agents' answers to one change come together: the union of addresses is told once. */
const RESOLVE_PAUSE_MS = 50;
/** Clocks are known better with every packet that crosses, at the beginning above all. */
const CORRECT_EVERY_MS = 250;

/** Follows several nodes at once: their connections, their streams merged, the addresses one resolved told to all others. */
export class NodeStreams {
  readonly #options: FollowingOptions;
  readonly #nodes = new Map<string, Followed>();
  readonly #merge: Merge;
  readonly #filter: FollowFilter;
  readonly #wires = new WireClocks();
  readonly #lost: Partial<Record<LostStage, number>> = {};
  readonly #gaps = new Set<string>();
  readonly #partly = new Set<string>();
  readonly #undecided = new Undecided();
  readonly #toldVersions = new Set<string>();
  readonly #followingNotice = new FollowingNotice(
    () => this.#followedNodes(),
    (notice) => this.#tell(notice),
    () => this.#options.targets,
  );
  #corrections = new Map<string, ClockEstimate>();
  #correctedAtMs = 0;
  #hasBegun = false;
  #isPaused = false;
  #isClosed = false;
  #releaseTimer: NodeJS.Timeout | undefined;
  #resolveTimer: NodeJS.Timeout | undefined;

  constructor(options: FollowingOptions) {
    this.#options = options;
    this.#filter = new FollowFilter(options.filter);
    this.#merge = new Merge({
      ...MERGE_DEFAULTS,
      epochMs: Math.floor(options.nowMs() / 1000) * 1000,
      isFollowed: (node) => this.#nodes.get(node)?.state === 'up',
      decide: (judged) => this.#filter.decide(judged),
      tell: (event) => this.#tell(event),
      crossed: (from, to, gapMs) => this.#wires.crossed(from, to, gapMs, options.nowMs()),
      consumed: (node) => this.#nodes.get(node)?.connection.consumed(1),
    });
  }

  /** The nodes to follow from now on: joins the new ones, leaves those that are gone. */
  setNodes(wanted: ReadonlySet<string>): void {
    for (const node of this.#nodes.keys()) if (!wanted.has(node)) this.#leave(node);
    for (const node of wanted) if (!this.#nodes.has(node)) this.#join(node, wanted.size);
  }

  /** The node's gate is another one now, or is ready again. */
  retryNow(node: string): void {
    const followed = this.#nodes.get(node);
    if (followed?.state === 'down') followed.connection.retryNow();
  }

  /** There are new tokens: tells them to the agents before the old ones end. */
  authenticate(): void {
    for (const { connection } of this.#nodes.values()) connection.authenticate();
  }

  /** Changes which packets are told, while following goes on: nothing is attached anew, nothing is lost. */
  setFilter(filter: ReadFilter | undefined): void {
    this.#filter.set(filter);
    for (const [node, { connection }] of this.#nodes) connection.update(this.#subscriptionFor(node));
  }

  /** The reader takes no more for now: nothing is told, and no credit given, until it resumes. */
  pause(): void {
    this.#isPaused = true;
    clearTimeout(this.#releaseTimer);
    this.#releaseTimer = undefined;
  }

  resume(): void {
    this.#isPaused = false;
    this.#release();
  }

  /** Something about the tracing itself, told among the events. */
  notice(level: NoticeEvent['level'], code: NoticeEvent['code'], text: string, node?: string): void {
    this.#tell({ v: 1, kind: 'notice', ...(node === undefined ? {} : { node }), level, code, text });
  }

  status(): FollowStatus {
    const all = [...this.#nodes.values()];
    const names = [...this.#nodes.keys()];
    return {
      agents: all.length,
      agentsUp: all.filter(({ state }) => state === 'up').length,
      pods: all.reduce((sum, { resolved }) => sum + resolved.pods.length, 0),
      addresses: new Set(all.flatMap(({ resolved }) => resolved.addresses)).size,
      hostNetwork: hostNetworkNodes(all.flatMap(({ resolved }) => resolved.pods)),
      counts: { ...this.#merge.counts },
      lost: { ...this.#lost },
      missing: names.filter((node) => this.#nodes.get(node)?.state !== 'up'),
      gaps: [...this.#gaps],
      partly: [...this.#partly],
      undecided: this.#undecided.sum(this.#merge.counts.undecided, this.#merge.wantsBytes),
      filter: this.#filter.text,
    };
  }

  /** Tells what is held, and leaves all nodes. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#merge.release(this.#options.nowMs(), true);
    this.#isClosed = true;
    clearTimeout(this.#releaseTimer);
    clearTimeout(this.#resolveTimer);
    this.#followingNotice.close();
    await Promise.all([...this.#nodes.values()].map(({ connection }) => connection.close()));
  }

  #join(node: string, among: number): void {
    const { tokens, dial, nowMs, timeouts, random } = this.#options;
    const connection = new AgentConnection({
      node,
      dial: (signal) => dial(node, signal),
      subscription: this.#subscriptionFor(node),
      window: Math.min(WINDOW.most, Math.max(WINDOW.least, Math.floor(WINDOW.total / among))),
      nowMs,
      ...(tokens === undefined ? {} : { tokens }),
      ...(timeouts === undefined ? {} : { timeouts }),
      ...(random === undefined ? {} : { random }),
      handler: {
        up: (arrival, version) => this.#up(node, arrival, version),
        down: (error) => this.#down(node, error),
        refused: (error) => this.#refused(node, error),
        events: (events) => this.#events(node, events),
        invalid: (count, error) => this.#invalid(node, count, error),
        resolved: (resolved) => this.#resolved(node, resolved),
        undecided: (packets, wantsBytes) => this.#undecided.told(node, packets, wantsBytes),
      },
    });
    const asked = addressKey(this.#addressesFor(node));
    const resolved = { pods: [], addresses: [] };
    this.#nodes.set(node, {
      connection,
      resolved,
      state: 'connecting',
      isLate: this.#hasBegun,
      downSince: undefined,
      firstError: undefined,
      isUnreadable: false,
      asked,
    });
  }

  #leave(node: string): void {
    const followed = this.#nodes.get(node);
    if (followed === undefined) return;
    this.#nodes.delete(node);
    this.#gaps.add(node);
    void followed.connection.close();
    this.notice('warn', 'KTRACE_N_AGENT_LEFT', 'this node has had no agent for a while; its packets are not seen', node);
    this.#resolveSoon();
  }

  #up(node: string, arrival: Arrival, version: string): void {
    const followed = this.#nodes.get(node);
    if (followed === undefined) return;
    followed.state = 'up';
    if (arrival.how !== 'resumed') this.#undecided.begins(node);
    if (arrival.how !== 'began') this.#tellReturn(node, followed, arrival);
    else if (followed.downSince !== undefined) this.notice('info', 'KTRACE_N_AGENT_BACK', 'the agent is reached now', node);
    else if (followed.isLate) this.notice('info', 'KTRACE_N_AGENT_JOINED', 'this node is followed too now', node);
    followed.downSince = undefined;
    this.#correctedAtMs = 0;
    this.#tellVersion(node, version);
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      this.#options.began();
      this.#tellEarlyFailures();
    }
  }

  /** Once for each version, not for each node that has it. */
  #tellVersion(node: string, version: string): void {
    const { version: own = version } = this.#options;
    if (version === own || this.#toldVersions.has(version)) return;
    this.#toldVersions.add(version);
    this.notice('info', 'KTRACE_N_VERSION', `the agent has version ${version.slice(0, 40)}, this client has ${own}`, node);
  }

  #tellReturn(node: string, followed: Followed, { how, missed }: Arrival): void {
    if (how === 'resumed') {
      const said = missed === 0 ? 'nothing was missed' : `${missed} events were missed`;
      this.notice(missed === 0 ? 'info' : 'warn', 'KTRACE_N_AGENT_BACK', `the connection stands again; ${said}`, node);
      if (missed !== undefined && missed > 0) {
        const from = followed.downSince ?? this.#time();
        this.#tell({ v: 1, kind: 'lost', node, stage: 'client-socket', count: missed, from, to: this.#time() });
      }
      return;
    }
    this.#gaps.add(node);
    this.#wires.forget(node);
    const why = how === 'restarted' ? 'the agent was started anew' : 'the agent did not keep the stream';
    const since = followed.downSince === undefined ? '' : ` since ${followed.downSince}`;
    const code = how === 'restarted' ? 'KTRACE_N_AGENT_RESTARTED' : 'KTRACE_N_STREAM_RENEWED';
    this.notice('warn', code, `${why}; what happened${since} is not known`, node);
  }

  #down(node: string, error: KtraceError): void {
    const followed = this.#nodes.get(node);
    if (followed === undefined) return;
    const isNews = followed.downSince === undefined;
    followed.state = 'down';
    followed.firstError ??= error;
    followed.downSince ??= this.#time();
    followed.resolved = { pods: [], addresses: followed.resolved.addresses };
    if (this.#hasBegun && isNews) this.notice('warn', 'KTRACE_N_AGENT_DOWN', `${error.message}; trying again`, node);
    if (!this.#hasBegun) this.#failIfNobodyIsLeft();
    this.#resolveSoon();
  }

  #refused(node: string, error: KtraceError): void {
    const followed = this.#nodes.get(node);
    if (followed === undefined) return;
    followed.state = 'refused';
    // A connection that broke before says less than that nobody wants us.
    followed.firstError = error;
    if (this.#hasBegun) this.notice('error', 'KTRACE_N_AGENT_REFUSED', error.message, node);
    this.#failIfNobodyIsLeft();
    this.#resolveSoon();
  }

  /** Before anything was followed, one failed attempt at every node is enough; after it, only that all refuse. */
  #failIfNobodyIsLeft(): void {
    const all = [...this.#nodes.values()];
    const isOver = all.every(({ state }) => state === 'refused' || (!this.#hasBegun && state === 'down'));
    const error = all.find(({ state }) => state === 'refused')?.firstError ?? all[0]?.firstError;
    if (isOver && error !== undefined && !this.#isClosed) this.#options.failed(error);
  }

  #tellEarlyFailures(): void {
    for (const [node, { state, firstError }] of this.#nodes) {
      if (state === 'down' && firstError) this.notice('warn', 'KTRACE_N_AGENT_DOWN', `${firstError.message}; trying again`, node);
      if (state === 'refused' && firstError) this.notice('error', 'KTRACE_N_AGENT_REFUSED', firstError.message, node);
    }
  }

  #events(node: string, events: KtraceEvent[]): void {
    const nowMs = this.#options.nowMs();
    const correction = this.#correctionOf(node, nowMs);
    for (const event of events) this.#merge.add(node, event, correction, nowMs);
    this.#schedule();
  }

  /** They are counted each time, and told of once. */
  #invalid(node: string, count: number, error: KtraceError): void {
    this.#merge.unreadable(count);
    const followed = this.#nodes.get(node);
    if (followed === undefined || followed.isUnreadable) return;
    followed.isUnreadable = true;
    this.notice('warn', 'KTRACE_N_EVENTS_INVALID', `events of this node are left out: ${error.message}`, node);
  }

  #correctionOf(node: string, nowMs: number): ClockEstimate {
    if (nowMs - this.#correctedAtMs > CORRECT_EVERY_MS) {
      const clocks = new Map<string, ClockEstimate>();
      for (const [name, { connection }] of this.#nodes) {
        const clock = connection.clock();
        if (clock !== undefined) clocks.set(name, clock);
      }
      this.#corrections = corrections(clocks, this.#wires, nowMs);
      this.#correctedAtMs = nowMs;
    }
    return this.#corrections.get(node) ?? { offsetMs: 0, uncertaintyMs: 0 };
  }

  #schedule(): void {
    if (this.#isPaused || this.#isClosed || this.#releaseTimer !== undefined) return;
    const dueMs = this.#merge.nextDueMs();
    if (dueMs === undefined) return;
    this.#releaseTimer = setTimeout(() => this.#release(), Math.max(1, Math.ceil(dueMs - this.#options.nowMs())));
  }

  #release(): void {
    clearTimeout(this.#releaseTimer);
    this.#releaseTimer = undefined;
    this.#merge.release(this.#options.nowMs());
    this.#schedule();
  }

  #tell(event: KtraceEvent): void {
    if (this.#isClosed) return;
    if (event.kind === 'lost') this.#lost[event.stage] = (this.#lost[event.stage] ?? 0) + event.count;
    if (event.kind === 'notice' && event.code === 'KTRACE_N_INTERFACES_INCOMPLETE' && event.node !== undefined)
      this.#partly.add(event.node);
    this.#options.tell(event);
  }

  #resolved(node: string, resolved: Resolved): void {
    const followed = this.#nodes.get(node);
    if (followed === undefined) return;
    followed.resolved = resolved;
    this.#resolveSoon();
  }

  #resolveSoon(): void {
    if (this.#resolveTimer !== undefined || this.#isClosed) return;
    this.#resolveTimer = setTimeout(() => {
      this.#resolveTimer = undefined;
      for (const [node, followed] of this.#nodes) this.#tellAddresses(node, followed);
      this.#followingNotice.look();
    }, RESOLVE_PAUSE_MS);
  }

  *#followedNodes(): Iterable<[string, FollowedNode]> {
    // What one agent resolved, the others are still to be told.
    const isTelling = this.#resolveTimer !== undefined;
    for (const [node, { state, resolved, connection }] of this.#nodes)
      yield [node, { state, resolved, isSettled: connection.isSettled && !isTelling }];
  }

  #tellAddresses(node: string, followed: Followed): void {
    const addresses = this.#addressesFor(node);
    const key = addressKey(addresses);
    if (key === followed.asked) return;
    followed.asked = key;
    followed.connection.update(this.#subscriptionFor(node));
  }

  #subscriptionFor(node: string): Subscription {
    const { targets, units, headers = false, snapBytes, data = false } = this.#options;
    return {
      targets,
      addresses: this.#addressesFor(node),
      units,
      ...this.#filter.wanted,
      ...(headers ? { headers } : {}),
      ...(snapBytes === undefined ? {} : { snapBytes }),
      ...(data ? { data } : {}),
    };
  }

  /** What the other nodes' agents resolved. */
  #addressesFor(node: string): string[] {
    const addresses = new Set<string>();
    for (const [other, { resolved }] of this.#nodes) if (other !== node) for (const ip of resolved.addresses) addresses.add(ip);
    return [...addresses].sort();
  }

  #time(): string {
    return new Date(this.#options.nowMs()).toISOString();
  }
}

function addressKey(addresses: string[]): string {
  return addresses.join(' ');
}

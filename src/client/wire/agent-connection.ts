import type { Duplex } from 'node:stream';
import type { Resolved, Subscription } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import { checkEvents } from '../../protocol/check-event.ts';
import type { AgentMessage } from '../../protocol/messages.ts';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { type ClockEstimate, NodeClock } from './clock.ts';
import { Stream } from './stream.ts';

/** How the subscription went on after a connection was made. */
export interface Arrival {
  /** The stream began; `resumed`: went on where it broke; `restarted`: another start of the agent; `renewed`: the agent no longer knew the stream. */
  how: 'began' | 'resumed' | 'restarted' | 'renewed';
  /** Events that the agent could not keep for us; undefined: nobody knows how many. */
  missed: number | undefined;
}

export interface ConnectionHandler {
  /** `version` is the agent's. */
  up(arrival: Arrival, version: string): void;
  /** The connection broke or could not be made; it is tried again after `retryMs`. */
  down(error: KtraceError, retryMs: number): void;
  /** The agent does not want us: it is not tried again. */
  refused(error: KtraceError): void;
  events(events: KtraceEvent[]): void;
  /** So many events of a batch lack what this version reads: they are left out, the rest is taken. `error` tells of the first. */
  invalid(count: number, error: KtraceError): void;
  resolved(resolved: Resolved): void;
  /** Packets of this stream, since it began, that the agent did not tell for want of captured bytes, and how far the filter reads. */
  undecided?(packets: number, wantsBytes: number): void;
}

export interface Timeouts {
  /** To reach the gate. */
  dialMs: number;
  /** For `hello`. */
  answerMs: number;
  /** For `subscribed`: the agent attaches its programs before, which takes seconds where a node has hundreds of pods. */
  subscribedMs: number;
  /** The agent says something at least every 10 s. */
  silenceMs: number;
  /** Pauses between attempts, before jitter. */
  retryFirstMs: number;
  retryLastMs: number;
  /** A stream that stood so long was no failed attempt: the pauses begin anew. */
  steadyMs: number;
}

const TIMEOUTS: Timeouts = {
  dialMs: 15_000,
  answerMs: 5_000,
  subscribedMs: 15_000,
  silenceMs: 25_000,
  retryFirstMs: 250,
  retryLastMs: 5_000,
  steadyMs: 10_000,
};

export interface ConnectionOptions {
  node: string;
  /** Makes a connection to the node's gate. */
  dial(signal: AbortSignal): Promise<Duplex>;
  subscription: Subscription;
  /** What says who asks, at this moment. */
  tokens?(): readonly string[];
  /** Events that may be on their way to us, or wait here, at most. */
  window: number;
  handler: ConnectionHandler;
  timeouts?: Timeouts;
  /** Unix milliseconds with fraction, of a clock that is never stepped. */
  nowMs(): number;
  random?(): number;
}

/** What the agent may answer that no other attempt changes. */
const FINAL = new Set(['KTRACE_E_NOT_AUTHORIZED', 'KTRACE_E_FILTER', 'KTRACE_E_SUBPROTOCOL', 'KTRACE_E_PROTOCOL']);

/** Follows one node through its gate: connects, subscribes, grants credits, and goes on after the connection broke. */
export class AgentConnection {
  readonly node: string;
  readonly #options: ConnectionOptions;
  readonly #timeouts: Timeouts;
  readonly #clock = new NodeClock();
  readonly #abort = new AbortController();
  #subscription: Subscription;
  #asked: Subscription | undefined;
  #stream: Stream | undefined;
  #isSubscribed = false;
  #session: { instance: string; session: string; seq: number } | undefined;
  #instance = '';
  #version = '';
  /** Events told and not yet consumed, and consumed without having been granted again. */
  #open = 0;
  #consumedSince = 0;
  #openedAtMs = 0;
  /** When each `subscribe` that is not answered yet was sent, and when the one that was answered last was. */
  #askedAtMs: number[] = [];
  #answeredAskedAtMs: number | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #attempts = 0;
  /** When the stream of this attempt began or went on. */
  #upSinceMs: number | undefined;
  #wake: (() => void) | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#timeouts = options.timeouts ?? TIMEOUTS;
    this.#subscription = options.subscription;
    this.node = options.node;
    void this.#run();
  }

  /** The agent has answered the latest subscription. */
  get isSettled(): boolean {
    return this.#isSubscribed && this.#askedAtMs.length === 0 && this.#asked === this.#subscription;
  }

  clock(): ClockEstimate | undefined {
    return this.#clock.estimate();
  }

  /** Changes what is followed, without a gap. */
  update(subscription: Subscription): void {
    this.#subscription = subscription;
    if (this.#isSubscribed) this.#subscribe(undefined);
  }

  /** So many events have been told to the reader: the agent may send as many more. */
  consumed(count: number): void {
    this.#open -= count;
    this.#consumedSince += count;
    if (this.#consumedSince * 4 >= this.#options.window) this.#grant();
  }

  /** There is reason to think that it works now: tries at once. */
  retryNow(): void {
    this.#attempts = 0;
    this.#wake?.();
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#wake?.();
    clearTimeout(this.#deadline);
    this.#isSubscribed = false;
    await this.#stream?.close();
  }

  async #run(): Promise<void> {
    const { handler } = this.#options;
    while (!this.#abort.signal.aborted) {
      const error = await this.#attempt();
      if (this.#abort.signal.aborted) return;
      if (this.#upSinceMs !== undefined && this.#options.nowMs() - this.#upSinceMs >= this.#timeouts.steadyMs) this.#attempts = 0;
      this.#upSinceMs = undefined;
      this.#isSubscribed = false;
      this.#stream = undefined;
      if (this.#isFinal(error)) {
        handler.refused(error);
        return;
      }
      const retryMs = this.#nextPauseMs();
      handler.down(error, retryMs);
      await this.#pause(retryMs);
    }
  }

  /** One connection from its beginning to its end; gives why it ended. */
  async #attempt(): Promise<KtraceError> {
    let duplex: Duplex;
    try {
      duplex = await this.#dial();
    } catch (error) {
      return error instanceof KtraceError ? error : unreachable(this.node, messageOf(error), error);
    }
    if (this.#abort.signal.aborted) {
      duplex.destroy();
      return unreachable(this.node, 'closed');
    }
    return new Promise((resolve) => {
      this.#openedAtMs = this.#options.nowMs();
      this.#askedAtMs = [];
      this.#answeredAskedAtMs = undefined;
      const stream = new Stream(duplex, {
        opened: () => undefined,
        message: (message) => this.#receive(message),
        ended: (error) => {
          clearTimeout(this.#deadline);
          resolve(error);
        },
      });
      this.#stream = stream;
      this.#expectMore();
    });
  }

  async #dial(): Promise<Duplex> {
    const timeout = AbortSignal.timeout(this.#timeouts.dialMs);
    const signal = AbortSignal.any([timeout, this.#abort.signal]);
    const dialled = this.#options.dial(signal);
    const given = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(stalled(this.node, this.#timeouts.dialMs)), { once: true });
    });
    try {
      return await Promise.race([dialled, given]);
    } catch (error) {
      // Who gave up waiting still closes what comes late.
      dialled.then((duplex) => duplex.destroy()).catch(() => undefined);
      throw error;
    }
  }

  #receive(message: AgentMessage): void {
    this.#expectMore();
    switch (message.type) {
      case 'hello':
        this.#hello(message);
        break;
      case 'subscribed':
        this.#subscribed(message);
        break;
      case 'events':
        this.#events(message.seq, message.events);
        break;
      case 'resolved':
        this.#options.handler.resolved(message.resolved);
        break;
      case 'undecided':
        this.#options.handler.undecided?.(message.packets, message.wantsBytes);
        break;
      case 'clock':
        this.#clockTold(Number(message.clock) / 1e6);
        break;
      case 'error':
        this.#stream?.fail(agentError(this.node, message));
        break;
      case 'bye':
        this.#stream?.fail(
          new KtraceError('KTRACE_E_CONNECTION', `The agent of node ${this.node} said good-bye: ${message.reason}`),
        );
        break;
    }
  }

  /** What comes first behind an answer was sent after the question. */
  #clockTold(nodeMs: number): void {
    const nowMs = this.#options.nowMs();
    if (this.#answeredAskedAtMs === undefined) this.#clock.arrived(nodeMs, nowMs);
    else this.#clock.answered(this.#answeredAskedAtMs, nodeMs, nowMs);
    this.#answeredAskedAtMs = undefined;
  }

  #hello(message: Extract<AgentMessage, { type: 'hello' }>): void {
    if (message.node !== this.node) {
      throw new KtraceError('KTRACE_E_PROTOCOL', `Expected the agent of node ${this.node}, got that of ${message.node}`);
    }
    this.#clock.answered(this.#openedAtMs, Number(message.clock) / 1e6, this.#options.nowMs());
    this.#instance = message.instance;
    this.#version = message.version;
    this.authenticate();
    this.#subscribe(this.#session);
    this.#expectMore();
  }

  /** Says who asks: before all else, and again when there are new tokens. */
  authenticate(): void {
    for (const token of this.#options.tokens?.() ?? []) this.#stream?.send({ type: 'auth', token });
  }

  #subscribe(resume: { instance: string; session: string; seq: number } | undefined): void {
    this.#asked = this.#subscription;
    this.#askedAtMs.push(this.#options.nowMs());
    this.#stream?.send({ type: 'subscribe', ...this.#subscription, ...(resume === undefined ? {} : { resume }) });
  }

  #subscribed({ session, resumed, missed, resolved }: Extract<AgentMessage, { type: 'subscribed' }>): void {
    const { handler, window } = this.#options;
    this.#answeredAskedAtMs = this.#askedAtMs.shift();
    const isAnswerToUpdate = this.#isSubscribed;
    const before = this.#session;
    if (before?.session !== session || before.instance !== this.#instance) {
      this.#session = { instance: this.#instance, session, seq: 0 };
    }
    if (!isAnswerToUpdate) {
      this.#isSubscribed = true;
      this.#upSinceMs = this.#options.nowMs();
      this.#consumedSince = 0;
      this.#stream?.send({ type: 'credit', events: Math.max(0, window - this.#open), ack: this.#session?.seq ?? 0 });
      // It was changed between the question and its answer.
      if (this.#asked !== this.#subscription) this.#subscribe(undefined);
      handler.up(arrivalOf(before, this.#instance, resumed, missed), this.#version);
    }
    handler.resolved(resolved);
  }

  #events(seq: number, events: KtraceEvent[]): void {
    const session = this.#session;
    if (session === undefined || !this.#isSubscribed)
      throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected subscribed before events');
    // A batch that came already is sent again after a resume: nothing is told twice.
    if (seq <= session.seq) {
      this.#consumedSince += events.length;
      return;
    }
    if (seq !== session.seq + 1) throw new KtraceError('KTRACE_E_GAP', `Expected batch ${session.seq + 1}, got ${seq}`);
    // The batch has arrived, whatever is in it: else a resume would bring the same events again, without end.
    session.seq = seq;
    const { readable, unreadable, error } = checkEvents(events);
    this.#open += events.length;
    this.#options.handler.events(readable);
    if (error === undefined) return;
    this.#options.handler.invalid(unreadable, error);
    this.consumed(unreadable);
  }

  #grant(): void {
    if (!this.#isSubscribed || this.#session === undefined) return;
    this.#stream?.send({ type: 'credit', events: this.#consumedSince, ack: this.#session.seq });
    this.#consumedSince = 0;
  }

  /** Arms the deadline for the agent's next message, as far as the conversation is. */
  #expectMore(): void {
    const { answerMs, subscribedMs, silenceMs } = this.#timeouts;
    const isAsked = this.#askedAtMs.length > 0;
    const withinMs = this.#isSubscribed ? silenceMs : isAsked ? subscribedMs : answerMs;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#stream?.fail(stalled(this.node, withinMs)), withinMs);
  }

  /** Before the first subscription, what the agent says against us is final; later the same may be a passing state of an update. */
  #isFinal(error: KtraceError): boolean {
    return FINAL.has(error.code) && (this.#session === undefined || error.exitCode === EXIT.notAuthorized);
  }

  #nextPauseMs(): number {
    const { retryFirstMs, retryLastMs } = this.#timeouts;
    const full = Math.min(retryLastMs, retryFirstMs * 2 ** Math.min(this.#attempts++, 16));
    return Math.round(full * (0.5 + (this.#options.random ?? Math.random)() / 2));
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
    });
  }
}

function arrivalOf(before: { instance: string } | undefined, instance: string, resumed: boolean, missed: number): Arrival {
  if (before === undefined) return { how: 'began', missed: 0 };
  if (resumed) return { how: 'resumed', missed };
  return { how: before.instance === instance ? 'renewed' : 'restarted', missed: undefined };
}

function agentError(node: string, { code, message, hint }: Extract<AgentMessage, { type: 'error' }>): KtraceError {
  const known = /^KTRACE_E_[A-Z0-9_]{1,60}$/.test(code) ? (code as `KTRACE_E_${string}`) : 'KTRACE_E_PROTOCOL';
  const isForbidden = /AUTHORIZED|FORBIDDEN/.test(known);
  return new KtraceError(known, `The agent of node ${node} refused: ${message}`, {
    ...(typeof hint === 'string' ? { hint } : {}),
    exitCode: isForbidden ? EXIT.notAuthorized : EXIT.failure,
  });
}

function stalled(node: string, ms: number): KtraceError {
  return new KtraceError(
    'KTRACE_E_STALLED',
    `The agent of node ${node} took the connection and said nothing for ${ms / 1000} s`,
    {
      hint: 'Look at the logs of the agent and the gate on that node.',
      exitCode: EXIT.noAgent,
    },
  );
}

function unreachable(node: string, why: string, cause?: unknown): KtraceError {
  return new KtraceError('KTRACE_E_CONNECTION', `The gate of node ${node} cannot be reached: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    exitCode: EXIT.noAgent,
  });
}

import type { DumpRequest } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import { checkEvents } from '../../protocol/check-event.ts';
import type { AgentMessage } from '../../protocol/messages.ts';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { type ClockEstimate, NodeClock } from '../wire/clock.ts';
import { agentRefusal, type NodeAccess } from '../wire/node-question.ts';
import { Stream } from '../wire/stream.ts';

export interface DumpNodeOptions extends NodeAccess {
  request: DumpRequest;
  /** Unix milliseconds, of a clock that is never stepped. */
  nowMs(): number;
  /** The transfer broke and is tried again. */
  onBroken(error: KtraceError): void;
  pauseMs?: number;
  /** Without a word for so long, a connection is broken. */
  silenceMs?: number;
}

export type Dumped = Extract<AgentMessage, { type: 'dumped' }>;

/** Records on their way or waiting, of one node. */
const WINDOW = 2048;
const ATTEMPTS = 5;
const PAUSE_MS = 500;
const SILENCE_MS = 40_000;

/**
 * The records of one node, in the order of its recording, pulled one by one. A transfer that breaks goes on behind the last message that came.
 */
export class DumpNode {
  /** What the agent said at the end. */
  dumped: Dumped | undefined;
  /** Why no more came. */
  failure: KtraceError | undefined;
  /** Records that this version cannot read: they are left out. `error` is that of the first. */
  readonly unreadable: { count: number; error: KtraceError | undefined } = { count: 0, error: undefined };
  readonly node: string;
  readonly #options: DumpNodeOptions;
  readonly #clock = new NodeClock();
  #events: KtraceEvent[] = [];
  #at = 0;
  #wake: (() => void) | undefined;
  #roomWake: (() => void) | undefined;
  #stream: Stream | undefined;
  #after: string | undefined;
  #open = 0;
  #consumed = 0;
  #attempts = 0;
  #isClosed = false;

  constructor(options: DumpNodeOptions) {
    this.node = options.node;
    this.#options = options;
    void this.#run();
  }

  /** The node's clock, roughly: a recording is not moved by less than what can be known of it. */
  clock(): ClockEstimate {
    const estimate = this.#clock.estimate();
    if (estimate === undefined || Math.abs(estimate.offsetMs) <= estimate.uncertaintyMs + LEAST_OFFSET_MS) {
      return { offsetMs: 0, uncertaintyMs: LEAST_OFFSET_MS };
    }
    return { offsetMs: Math.round(estimate.offsetMs), uncertaintyMs: estimate.uncertaintyMs + LEAST_OFFSET_MS };
  }

  /** The next record; undefined at the end, or when the node failed. */
  async next(): Promise<KtraceEvent | undefined> {
    while (this.#at >= this.#events.length) {
      if (this.dumped !== undefined || this.failure !== undefined || this.#isClosed) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const event = this.#events[this.#at++];
    if (this.#at === this.#events.length) {
      this.#events = [];
      this.#at = 0;
    }
    this.#consumed += 1;
    this.#roomWake?.();
    if (this.#consumed >= WINDOW / 2) this.#grant();
    return event;
  }

  get #isFull(): boolean {
    return this.#waiting > WINDOW / 2;
  }

  async #room(): Promise<void> {
    while (this.#isFull && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#roomWake = resolve;
      });
    }
  }

  get #waiting(): number {
    return this.#events.length - this.#at;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake?.();
    this.#roomWake?.();
    await this.#stream?.close();
  }

  async #run(): Promise<void> {
    for (;;) {
      const error = await this.#attempt();
      // Nobody waits for another attempt at what is not wanted any more.
      this.#isClosed ||= this.#options.interrupt.aborted;
      if (this.dumped !== undefined || this.#isClosed) break;
      // An agent ends what nobody takes; whoever reads this may pause for as long as they like, or read another node's first.
      const isPause = !FINAL.has(error.code) && this.#isFull;
      if (isPause) await this.#room();
      else if (FINAL.has(error.code) || ++this.#attempts >= ATTEMPTS) {
        this.failure = error;
        break;
      } else {
        this.#options.onBroken(error);
        await new Promise((resolve) => setTimeout(resolve, (this.#options.pauseMs ?? PAUSE_MS) * 2 ** (this.#attempts - 1)));
      }
      if (this.#isClosed) break;
    }
    this.#wake?.();
  }

  async #attempt(): Promise<KtraceError> {
    const { node, dial, interrupt, nowMs, silenceMs = SILENCE_MS } = this.#options;
    let stream: Stream | undefined;
    let timer: NodeJS.Timeout | undefined;
    try {
      const duplex = await dial(AbortSignal.any([interrupt, AbortSignal.timeout(silenceMs)]));
      const openedMs = nowMs();
      this.#open = 0;
      this.#consumed = 0;
      return await new Promise<KtraceError>((resolve) => {
        const expect = (): void => {
          clearTimeout(timer);
          timer = setTimeout(() => stream?.fail(silent(node, silenceMs)), silenceMs);
        };
        expect();
        stream = new Stream(duplex, {
          opened: () => undefined,
          message: (message) => {
            expect();
            this.#take(message, openedMs);
            if (this.dumped !== undefined) void stream?.close().then(() => resolve(DONE));
          },
          ended: resolve,
        });
        this.#stream = stream;
      });
    } catch (error) {
      if (error instanceof KtraceError) return error;
      return new KtraceError('KTRACE_E_CONNECTION', `The gate of node ${node} cannot be reached: ${messageOf(error)}`, {
        cause: error,
      });
    } finally {
      clearTimeout(timer);
      this.#stream = undefined;
    }
  }

  #take(message: AgentMessage, openedMs: number): void {
    const { node, tokens, request, nowMs } = this.#options;
    switch (message.type) {
      case 'hello':
        if (message.node !== node) {
          throw new KtraceError('KTRACE_E_PROTOCOL', `Expected the agent of node ${node}, got that of ${message.node}`);
        }
        this.#clock.answered(openedMs, Number(message.clock) / 1e6, nowMs());
        for (const token of tokens()) this.#stream?.send({ type: 'auth', token });
        this.#stream?.send({ type: 'dump', ...request, ...(this.#after === undefined ? {} : { after: this.#after }) });
        this.#grant();
        break;
      case 'records':
        this.#records(message.events, message.after);
        break;
      case 'dumped':
        this.dumped = message;
        this.#wake?.();
        break;
      case 'error':
        this.#stream?.fail(agentRefusal(node, message));
        break;
      case 'bye':
        this.#stream?.fail(new KtraceError('KTRACE_E_CONNECTION', `The agent of node ${node} said good-bye: ${message.reason}`));
        break;
    }
  }

  #records(events: KtraceEvent[], after: string): void {
    this.#attempts = 0;
    this.#open -= events.length;
    const { readable, unreadable, error } = checkEvents(events);
    for (const event of readable) this.#events.push(event);
    this.unreadable.count += unreadable;
    this.unreadable.error ??= error;
    // Nobody takes these from here, so their credits are given back at once.
    this.#consumed += unreadable;
    this.#after = after;
    if (unreadable > 0) this.#grant();
    this.#wake?.();
  }

  #grant(): void {
    const more = WINDOW - this.#waiting - this.#open;
    this.#consumed = 0;
    if (more <= 0) return;
    this.#open += more;
    this.#stream?.send({ type: 'credit', events: more });
  }
}

const LEAST_OFFSET_MS = 5;
const FINAL = new Set([
  'KTRACE_E_NOT_AUTHORIZED',
  'KTRACE_E_NOT_RECORDING',
  'KTRACE_E_INCIDENT_UNKNOWN',
  'KTRACE_E_PROTOCOL',
  'KTRACE_E_SUBPROTOCOL',
  'KTRACE_E_FILTER',
  'KTRACE_E_SELECTOR',
  'KTRACE_E_INTERNAL',
]);
const DONE = new KtraceError('KTRACE_E_CLOSED', 'The transfer is done');

function silent(node: string, ms: number): KtraceError {
  return new KtraceError('KTRACE_E_STALLED', `The agent of node ${node} said nothing for ${ms / 1000} s`);
}

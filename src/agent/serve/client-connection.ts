import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { DumpRequest, Subscription } from '../../event/target.ts';
import { CLOSE } from '../../protocol/constants.ts';
import type { AgentMessage, ClientMessage } from '../../protocol/messages.ts';
import { parseClientMessage } from '../../protocol/parse.ts';
import { KtraceError, messageOf } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { Authorize, Vouch } from '../access/authorizer.ts';
import type { Limits } from '../access/limits.ts';
import { TokenBucket } from '../access/token-bucket.ts';
import type { Feed } from '../pipeline/feed.ts';
import type { Recorder } from '../record/recorder.ts';
import { ClientRights, type Granted } from './client-rights.ts';
import type { Dump } from './dump/dump.ts';
import type { Session, Wire } from './session.ts';
import type { Sessions } from './sessions.ts';

export interface ConnectionOptions {
  socket: WebSocket;
  /** The socket below the websocket. */
  transport: Duplex;
  feed: Feed;
  sessions: Sessions;
  limits: Limits;
  version: string;
  authorize: Authorize;
  vouch: Vouch;
  /** Authorization is off: no token is needed. */
  isOpenToAll: boolean;
  /** The client was authorized; called each time. @throws KtraceError KTRACE_E_BUSY */
  admit(connection: ClientConnection, accounts: readonly string[]): void;
  /** Undefined: this agent records nothing. */
  recorder(): Recorder | undefined;
  log: Logger;
  /** Milliseconds of a clock that is never stepped. */
  nowMs(): number;
  onError(code: string): void;
  onClosed(connection: ClientConnection): void;
}

type Of<Type extends ClientMessage['type']> = Extract<ClientMessage, { type: Type }>;

/** The newest of the subscriptions that came too soon, and how many of them there were: one answer is due for each. */
interface Later {
  message: Of<'subscribe'>;
  count: number;
  timer: NodeJS.Timeout;
  isDue: boolean;
}

/** Messages that may wait while one is answered. Our clients do not send more. */
const MAX_PENDING_MESSAGES = 64;

/** The longest message that is read before a token was found good; a token fits in. */
const MAX_STRANGER_BYTES = 32 * 1024;

/** The library has no event for an emptied buffer. */
const ROOM_POLL_MS = 5;

/** A client's websocket: handshake, messages in order, heartbeat, end. */
export class ClientConnection implements Wire {
  readonly #options: ConnectionOptions;
  readonly #socket: WebSocket;
  readonly #pending: string[] = [];
  readonly #subscribes: TokenBucket;
  #later: Later | undefined;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #recheck: NodeJS.Timeout;
  #idleTimer: NodeJS.Timeout | undefined;
  #closingTimer: NodeJS.Timeout | undefined;
  #isBusy = false;
  #isEnding = false;
  /** Bytes read since the last whole message. */
  #partBytes = 0;
  #seenAtMs: number;
  readonly #rights: ClientRights;
  readonly #questions: TokenBucket;
  #session: Session | undefined;
  #dump: Dump | undefined;
  /** Of the session or the dump; what is only asked for beside it changes nothing here. */
  #granted: Granted | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.#seenAtMs = options.nowMs();
    const { limits, authorize, vouch, isOpenToAll, nowMs } = options;
    const admit = (accounts: readonly string[]): void => {
      if (!this.#isEnding) options.admit(this, accounts);
    };
    this.#rights = new ClientRights({ authorize, vouch, isOpenToAll, graceMs: limits.graceMs, admit, nowMs });
    this.#questions = new TokenBucket(1000 / limits.recordedMs, limits.recorded, nowMs);
    this.#subscribes = new TokenBucket(1000 / limits.subscribeMs, limits.subscribes, nowMs);
    this.#awaitQuestion();
    this.#heartbeat = setInterval(() => this.#beat(), limits.clockMs);
    this.#recheck = setInterval(() => void this.#checkAgain(), limits.recheckMs);
    this.#listen();
    this.#sayHello();
  }

  send(message: AgentMessage): void {
    this.sendText(JSON.stringify(message));
  }

  sendText(text: string, taken?: () => void): void {
    this.#socket.send(text, () => taken?.());
  }

  bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  bye(reason: string): void {
    // It has ended, or goes on over another connection, which alone may change it now.
    this.#session = undefined;
    this.#end({ type: 'bye', reason }, CLOSE.goingAway);
  }

  /** Ends the connection with this error. */
  refuse(error: KtraceError): void {
    this.#fail(error);
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Cuts the connection without a message. */
  terminate(): void {
    this.#socket.terminate();
  }

  #listen(): void {
    const socket = this.#socket;
    const seen = (): void => {
      this.#seenAtMs = this.#options.nowMs();
    };
    socket.on('message', (data, isBinary) => {
      seen();
      this.#partBytes = 0;
      this.#receive(isBinary ? undefined : String(data));
    });
    socket.on('ping', seen);
    socket.on('pong', seen);
    // For frames that violate RFC 6455 or the size limit the library closes the connection with the right code.
    socket.on('error', (error) => {
      this.#options.onError('KTRACE_E_PROTOCOL');
      this.#options.log.debug({ err: messageOf(error) }, 'broken frame');
      this.#leave(true);
      // The library waits 30 s for the other side to close. So long the connection would take a client's place.
      this.#closingTimer ??= setTimeout(() => this.terminate(), this.#options.limits.closingMs);
    });
    socket.on('close', (code) => this.#closed(code));
    // The library collects a whole message, up to the limit for authorized clients, before it shows any of it.
    if (!this.#rights.isVouched) this.#options.transport.on('data', (chunk: Buffer) => this.#readByStranger(chunk.length));
  }

  #readByStranger(bytes: number): void {
    if (this.#rights.isVouched || this.#isBusy || this.#isEnding) return;
    this.#partBytes += bytes;
    if (this.#partBytes <= MAX_STRANGER_BYTES) return;
    this.#fail(tooLongForStranger());
    this.#socket.pause();
  }

  /** To anybody who connects: nothing of how the node is. */
  #sayHello(): void {
    const { feed, version } = this.#options;
    const { node, instance } = feed;
    this.send({ type: 'hello', node, instance, version, clock: String(feed.nowNs()) });
  }

  #receive(text: string | undefined): void {
    if (this.#isEnding) return;
    if (text === undefined) {
      this.#fail(binaryFrame(), CLOSE.unsupported);
    } else if (this.#pending.push(text) > MAX_PENDING_MESSAGES) {
      this.#fail(tooMany(), CLOSE.policy);
    } else if (!this.#isBusy) {
      void this.#work();
    }
  }

  /** Handles one message after the other: authorization is asynchronous. */
  async #work(): Promise<void> {
    this.#isBusy = true;
    try {
      while (!this.#isEnding) {
        if (this.#later?.isDue === true) {
          await this.#subscribeLater(this.#later);
          continue;
        }
        const text = this.#pending.shift();
        if (text === undefined) break;
        if (!this.#rights.isVouched && text.length > MAX_STRANGER_BYTES) throw tooLongForStranger();
        const message = parseClientMessage(text);
        if (message.type === 'credit') this.#credit(message);
        else await this.#unread(() => this.#take(message));
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isBusy = false;
    }
  }

  /** Does not read the socket while an answer is made: what the client sends meanwhile waits on its side. */
  async #unread(work: () => Promise<void>): Promise<void> {
    this.#socket.pause();
    try {
      await work();
    } finally {
      this.#socket.resume();
    }
  }

  #take(message: Exclude<ClientMessage, { type: 'credit' }>): Promise<void> {
    return message.type === 'auth' ? this.#auth(message) : this.#answer(message);
  }

  async #answer(message: Of<'doctor' | 'recorded' | 'dump' | 'subscribe'>): Promise<void> {
    clearTimeout(this.#idleTimer);
    if (message.type === 'doctor') await this.#doctor();
    else if (message.type === 'recorded') await this.#recorded(message);
    else if (message.type === 'dump') await this.#beginDump(message);
    else if (this.#isSoon()) this.#postpone(message);
    else await this.#subscribe(message);
    if (this.#session === undefined && this.#dump === undefined) this.#awaitQuestion();
  }

  /** Ends a connection that neither follows nor reads a recording, when no question comes in time: others need its place. */
  #awaitQuestion(): void {
    if (this.#isEnding) return;
    const { handshakeMs } = this.#options.limits;
    this.#idleTimer = setTimeout(() => this.#fail(tooSlow(handshakeMs), CLOSE.policy), handshakeMs);
  }

  #credit(message: Of<'credit'>): void {
    if (this.#dump) {
      this.#dump.credit(message.events);
      return;
    }
    if (!this.#session) throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected subscribe or dump before credit');
    this.#session.credit(message.events, message.ack);
  }

  async #auth({ token }: Of<'auth'>): Promise<void> {
    // Before the next message is read: how long that may be depends on this.
    await this.#rights.take(token);
    await this.#checkAgain();
  }

  /** Answered to clients that may follow the node itself, and so everybody's packets. */
  async #doctor(): Promise<void> {
    const { feed } = this.#options;
    await this.#rights.decide({ targets: [{ kind: 'node', name: feed.node }], addresses: [], units: 'flows' }, 'watch');
    if (!this.#isEnding) this.send({ type: 'doctor', report: feed.report() });
  }

  async #recorded({ type: _, ...question }: Of<'recorded'>): Promise<void> {
    // Each is answered; who asks too often waits, and nothing more of what they say is read.
    while (!this.#questions.take()) await new Promise((resolve) => setTimeout(resolve, this.#questions.waitMs()));
    if (this.#isEnding) return;
    // Authorized before anything is said of the recording: others do not learn whether anything is recorded.
    const access = await this.#rights.decide(recordedOf(question.targets), 'get');
    const recorder = this.#recorder();
    const { answerRecorded } = await import('./dump/dump.ts');
    const answer = await answerRecorded(recorder, question, access, this.#options.feed.vxlanPort());
    if (!this.#isEnding) this.send(answer);
  }

  async #beginDump({ type: _, ...request }: Of<'dump'>): Promise<void> {
    if (this.#session !== undefined || this.#dump !== undefined) {
      throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected one dump on a connection, and none where something is followed');
    }
    const granted = await this.#rights.grant(recordedOf(request.targets), 'get', this.#granted);
    const recorder = this.#recorder();
    const { Dump } = await import('./dump/dump.ts');
    if (this.#isEnding) return;
    this.#granted = granted;
    const { stallMs } = this.#options.limits;
    this.#dump = new Dump({
      recorder,
      request: request satisfies DumpRequest,
      access: granted.access,
      vxlanPort: () => this.#options.feed.vxlanPort(),
      send: (message) => this.#tellOfDump(message),
      roomToSend: () => this.#roomToSend(),
      nowMs: this.#options.nowMs,
      stallMs,
      stalled: () => this.bye(`the client took no records for ${stallMs / 1000} s`),
      failed: (error) => this.#fail(error),
    });
  }

  #tellOfDump(message: AgentMessage): void {
    this.send(message);
    if (message.type === 'dumped') this.#awaitQuestion();
  }

  #recorder(): Recorder {
    const { feed } = this.#options;
    const recorder = this.#options.recorder();
    if (recorder !== undefined) return recorder;
    throw new KtraceError('KTRACE_E_NOT_RECORDING', `The agent of node ${feed.node} records nothing`, {
      hint: 'ktrace install --record makes agents record, from then on (KTRACE_RECORD, a folder on the node, in their environment).',
    });
  }

  /** Resolves when the kernel has taken enough of what was sent, or the connection ends. */
  async #roomToSend(): Promise<void> {
    while (this.bufferedBytes() >= this.#options.limits.socketBytes && !this.#isEnding) {
      await new Promise((resolve) => setTimeout(resolve, ROOM_POLL_MS));
    }
  }

  #isSoon(): boolean {
    return this.#later !== undefined || !this.#subscribes.take();
  }

  /** Subscriptions are rate-limited, because each is resolved against the whole cluster and changes the kernel's maps. The newest one is never lost. */
  #postpone(message: Of<'subscribe'>): void {
    if (this.#later !== undefined) {
      if (this.#later.count === MAX_PENDING_MESSAGES) throw tooMany();
      this.#later = { ...this.#later, message, count: this.#later.count + 1 };
      return;
    }
    const timer = setTimeout(() => {
      if (this.#later !== undefined) this.#later.isDue = true;
      if (!this.#isBusy) void this.#work();
    }, this.#subscribes.waitMs());
    this.#later = { message, count: 1, timer, isDue: false };
  }

  async #subscribeLater({ message, count }: Later): Promise<void> {
    this.#later = undefined;
    this.#subscribes.take();
    await this.#unread(() => this.#subscribe(message));
    // An answer for each of them: the client counts the answers.
    for (let n = 1; n < count; n++) this.#session?.answer();
  }

  async #subscribe(message: Of<'subscribe'>): Promise<void> {
    if (this.#dump !== undefined) throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected nothing to be followed beside a dump');
    const { type: _, resume, ...subscription } = message;
    const granted = await this.#rights.grant(subscription, 'watch', this.#granted);
    // The client may have left meanwhile.
    if (this.#isEnding) return;
    this.#granted = granted;
    const { access } = granted;
    if (this.#session) this.#options.sessions.update(this.#session, subscription, access);
    else this.#session = this.#options.sessions.subscribe(subscription, access, resume, this);
    this.#tellClock();
  }

  /** Ends the stream when the right was withdrawn, or the token has expired and no new one came. */
  async #checkAgain(): Promise<void> {
    const before = this.#granted;
    if (before === undefined || this.#isEnding) return;
    try {
      const granted = await this.#rights.grant(before.subscription, before.verb, before);
      if (this.#isEnding || this.#granted !== before) return;
      this.#granted = granted;
      if (this.#session) this.#options.sessions.allow(this.#session, granted.access);
      this.#dump?.allow(granted.access);
    } catch (error) {
      if (!this.#isEnding && this.#granted?.subscription === before.subscription) this.#fail(error);
    }
  }

  #beat(): void {
    const { limits, log } = this.#options;
    if (this.#options.nowMs() - this.#seenAtMs > limits.deadAfterMs) {
      log.info('the client gives no sign of life');
      this.terminate();
    }
    if (this.#isEnding) return;
    this.#socket.ping();
    if (this.#rights.isVouched && this.bufferedBytes() < limits.socketBytes) this.#tellClock();
  }

  /** Also sent right after `subscribed`: the handshake takes long, so that `hello` alone gives a poor estimate of the clocks' offset. */
  #tellClock(): void {
    this.send({ type: 'clock', clock: String(this.#options.feed.nowNs()) });
  }

  #fail(error: unknown, closeCode?: number): void {
    const { log, onError } = this.#options;
    const known = error instanceof KtraceError ? error : undefined;
    if (!known) log.error({ err: error }, 'a client could not be served');
    const { code, message, hint } = known ?? INTERNAL;
    onError(code);
    this.#leave(true);
    this.#end({ type: 'error', code, message, ...(hint === undefined ? {} : { hint }) }, closeCode ?? closeCodeOf(code));
  }

  #end(lastWord: AgentMessage, code: number): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    clearTimeout(this.#later?.timer);
    this.#pending.length = 0;
    this.send(lastWord);
    this.#socket.close(code);
    this.#closingTimer = setTimeout(() => this.terminate(), this.#options.limits.closingMs);
  }

  #leave(isDone: boolean): void {
    if (this.#session) this.#options.sessions.leave(this.#session, this, isDone);
    this.#session = undefined;
    this.#dump?.close();
  }

  #closed(code: number): void {
    this.#isEnding = true;
    clearTimeout(this.#idleTimer);
    clearTimeout(this.#later?.timer);
    clearTimeout(this.#closingTimer);
    clearInterval(this.#heartbeat);
    clearInterval(this.#recheck);
    this.#rights.forget();
    // When the client began the closing handshake it is done. After a broken connection (1006) it may resume.
    this.#leave(code === CLOSE.normal || code === CLOSE.goingAway || code === NO_STATUS);
    this.#options.onClosed(this);
  }
}

/** The subscription that a question about recordings stands for; it needs the right to `get`, where following needs `watch`. */
function recordedOf(targets: Subscription['targets']): Subscription {
  return { targets, addresses: [], units: 'flows' };
}

/** The library's code for a close frame without one. */
const NO_STATUS = 1005;

const INTERNAL = { code: 'KTRACE_E_INTERNAL', message: 'The agent failed; its log has the reason', hint: undefined } as const;

function closeCodeOf(code: string): number {
  if (code === 'KTRACE_E_PROTOCOL') return CLOSE.protocol;
  return code === 'KTRACE_E_INTERNAL' ? CLOSE.internal : CLOSE.policy;
}

function tooSlow(handshakeMs: number): KtraceError {
  return new KtraceError(
    'KTRACE_E_HANDSHAKE',
    `Expected a question within ${handshakeMs / 1000} s of hello, or of the answer to the last one`,
  );
}

function tooMany(): KtraceError {
  return new KtraceError('KTRACE_E_PROTOCOL', `Expected at most ${MAX_PENDING_MESSAGES} messages ahead of an answer`);
}

function tooLongForStranger(): KtraceError {
  return new KtraceError(
    'KTRACE_E_NOT_AUTHORIZED',
    `Not authorized: expected a valid token before a message of more than ${MAX_STRANGER_BYTES / 1024} KiB`,
    {
      hint: 'No token was given, or it has ended or is for another audience. An administrator can grant access: ktrace grant --help',
    },
  );
}

function binaryFrame(): KtraceError {
  return new KtraceError('KTRACE_E_PROTOCOL', 'Expected a text frame, got a binary one');
}

import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import type { KtraceEvent } from '../../../src/event/types.ts';
import { MAX_AGENT_FRAME_BYTES, STREAM_PATH, SUBPROTOCOL } from '../../../src/protocol/constants.ts';
import type { AgentMessage, ClientMessage } from '../../../src/protocol/messages.ts';
import { parseAgentMessage } from '../../../src/protocol/parse.ts';
import { PATIENCE_MS } from '../../support/until.ts';

type Of<Type extends AgentMessage['type']> = Extract<AgentMessage, { type: Type }>;
export type Subscribe = Partial<Extract<ClientMessage, { type: 'subscribe' }>>;

export interface ClientOptions {
  subprotocol?: string;
  headers?: Record<string, string>;
  /** Answers each batch with as many credits and an acknowledgement. */
  autoCredit?: boolean;
  /** Over a connection that stands already. */
  connection?: Duplex;
}

/** A plain `ktrace.v1` client that remembers all it was told. */
export class StreamClient {
  readonly messages: AgentMessage[] = [];
  readonly events: KtraceEvent[] = [];
  lastSeq = 0;
  closed: { code: number; reason: string } | undefined;
  readonly socket: WebSocket;
  readonly #waiting = new Set<() => void>();

  constructor(url: string, options: ClientOptions = {}) {
    this.socket = new WebSocket(url, options.subprotocol ?? SUBPROTOCOL, {
      perMessageDeflate: false,
      maxPayload: MAX_AGENT_FRAME_BYTES,
      headers: options.headers ?? {},
      // Node's types ask for a net.Socket and need only a Duplex.
      ...(options.connection === undefined ? {} : { createConnection: () => options.connection as never }),
    });
    this.socket.on('message', (data) => {
      const message = parseAgentMessage(String(data));
      if (!message) return;
      this.messages.push(message);
      if (message.type === 'events') this.#takeBatch(message, options.autoCredit ?? false);
      this.#wake();
    });
    this.socket.on('error', () => this.#wake());
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: String(reason) };
      this.#wake();
    });
  }

  say(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  /** Subscribes and gives the answer. */
  async subscribe(message: Subscribe = {}): Promise<Of<'subscribed'>> {
    await this.hello();
    const before = this.all('subscribed').length;
    this.say({ type: 'subscribe', targets: [{ kind: 'all' }], ...message });
    await this.until(() => this.all('subscribed').length > before);
    return this.all('subscribed')[before] as Of<'subscribed'>;
  }

  all<Type extends AgentMessage['type']>(type: Type): Of<Type>[] {
    return this.messages.filter((message): message is Of<Type> => message.type === type);
  }

  /** Resolves when this holds, looking at each message; rejects with what was there instead. */
  async until(holds: () => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!holds()) {
      if (performance.now() > deadline) {
        throw new Error(`waited in vain for ${holds}; closed: ${JSON.stringify(this.closed)}; ${this.events.length} events`);
      }
      await this.#somethingHappens();
    }
  }

  async hello(): Promise<Of<'hello'>> {
    await this.until(() => this.all('hello').length > 0);
    return this.all('hello')[0] as Of<'hello'>;
  }

  /** Leaves as a client that is done. */
  async leave(): Promise<void> {
    this.socket.close(1000);
    await this.until(() => this.closed !== undefined);
  }

  /** Breaks the connection without a closing handshake. */
  async break(): Promise<void> {
    this.socket.terminate();
    await this.until(() => this.closed !== undefined);
  }

  #takeBatch({ seq, events }: Of<'events'>, autoCredit: boolean): void {
    if (seq !== this.lastSeq + 1) throw new Error(`batch ${seq} came after batch ${this.lastSeq}`);
    this.lastSeq = seq;
    this.events.push(...events);
    if (autoCredit && this.socket.readyState === WebSocket.OPEN) this.say({ type: 'credit', events: events.length, ack: seq });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #somethingHappens(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, 10);
      this.#waiting.add(wake);
    });
  }
}

/** The websocket's address on a unix socket. */
export function unixUrl(socketPath: string): string {
  return `ws+unix:${socketPath}:${STREAM_PATH}`;
}

/** The status and JSON body of a refused upgrade. */
export async function refusal(client: StreamClient): Promise<{ status: number; body: Record<string, unknown> }> {
  const [request, response] = await once(client.socket, 'unexpected-response');
  let text = '';
  for await (const chunk of response) text += chunk;
  request.destroy();
  return { status: response.statusCode, body: JSON.parse(text) };
}

/** How many events these are, those that a `lost` event of the agent's server stands for among them. */
export function published(events: readonly KtraceEvent[]): number {
  return events.reduce((sum, event) => sum + (event.kind === 'lost' ? event.count : 1), 0);
}

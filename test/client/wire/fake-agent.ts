import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { NodeReport } from '../../../src/event/node-report.ts';
import type { Resolved } from '../../../src/event/target.ts';
import type { KtraceEvent } from '../../../src/event/types.ts';
import { STREAM_PATH, SUBPROTOCOL } from '../../../src/protocol/constants.ts';
import type { AgentMessage, ClientMessage } from '../../../src/protocol/messages.ts';
import { parseClientMessage } from '../../../src/protocol/parse.ts';

/** An agent on a real websocket, that says what a test lets it say, and within its credits. */
export class FakeAgent {
  readonly node: string;
  instance = 'i1';
  version = '0';
  session = 's1';
  resolvedTo: Resolved = { pods: [], addresses: [] };
  clockMs = (): number => performance.timeOrigin + performance.now();
  /** What it answers to a `resume`: undefined, it does not know the session. */
  missed: number | undefined = 0;
  /** What it answers to doctor; undefined: nothing. */
  report: NodeReport | undefined;
  received: ClientMessage[] = [];
  /** Whether it answers a `subscribe`. */
  answers = true;
  credits = 0;
  connections = 0;
  #queue: KtraceEvent[] = [];
  #sent: { seq: number; events: KtraceEvent[] }[] = [];
  #seq = 0;
  #socket: WebSocket | undefined;
  #answered = false;
  readonly #http: HttpServer;
  readonly #server: WebSocketServer;

  private constructor(node: string, http: HttpServer) {
    this.node = node;
    this.#http = http;
    this.#server = new WebSocketServer({ server: http, path: STREAM_PATH, handleProtocols: () => SUBPROTOCOL });
    this.#server.on('connection', (socket) => this.#accept(socket));
  }

  static async start(node: string): Promise<FakeAgent> {
    const http = createHttpServer();
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    return new FakeAgent(node, http);
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  /** What `pods/portforward` would give. */
  dial(): Promise<Duplex> {
    return dialPort(this.port);
  }

  send(message: AgentMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }

  sendRaw(data: string | Buffer): void {
    this.#socket?.send(data);
  }

  emit(...events: KtraceEvent[]): void {
    this.#queue.push(...events);
    this.#flush();
  }

  /** As a broken network would: no closing handshake. */
  cut(): void {
    this.#socket?.terminate();
  }

  async close(): Promise<void> {
    for (const client of this.#server.clients) client.terminate();
    this.#server.close();
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  #accept(socket: WebSocket): void {
    this.#socket = socket;
    this.connections++;
    this.credits = 0;
    this.#answered = false;
    socket.on('message', (data) => this.#receive(parseClientMessage(String(data))));
    this.send({
      type: 'hello',
      node: this.node,
      instance: this.instance,
      version: this.version,
      clock: `${Math.round(this.clockMs() * 1e3)}000`,
    });
  }

  #receive(message: ClientMessage): void {
    this.received.push(message);
    if (message.type === 'doctor' && this.report !== undefined) this.send({ type: 'doctor', report: this.report });
    if (message.type === 'subscribe' && this.answers) this.#subscribe(message.resume);
    if (message.type === 'credit') {
      this.credits += message.events;
      this.#flush();
    }
  }

  #subscribe(resume: { instance: string; session: string; seq: number } | undefined): void {
    let missed = 0;
    let resumed = this.#answered;
    if (
      resume !== undefined &&
      resume.instance === this.instance &&
      resume.session === this.session &&
      this.missed !== undefined
    ) {
      resumed = true;
      missed = this.missed;
      this.#queue.unshift(...this.#sent.filter(({ seq }) => seq > resume.seq).flatMap(({ events }) => events));
      this.#seq = resume.seq;
      this.#sent = [];
    } else if (!this.#answered) this.#seq = 0;
    this.#answered = true;
    this.send({ type: 'subscribed', session: this.session, resumed, missed, resolved: this.resolvedTo });
  }

  #flush(): void {
    while (this.#queue.length > 0 && this.credits > 0) {
      const events = this.#queue.splice(0, Math.min(this.credits, 100));
      this.credits -= events.length;
      this.#seq++;
      this.#sent.push({ seq: this.#seq, events });
      this.send({ type: 'events', seq: this.#seq, events });
    }
  }
}

function dialPort(port: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.on('error', reject);
  });
}

/** A server that does what a test says with every connection, and nothing more. */
export async function rawServer(
  onConnection: (socket: Socket) => void,
): Promise<{ port: number; dial(): Promise<Duplex>; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    dial: () => dialPort(port),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

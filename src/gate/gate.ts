import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import {
  type Rejection,
  refuseRequest,
  refuseUpgrade,
  rejectionBody,
  rejectionResponse,
  upgradeRequired,
} from '../protocol/admission.ts';
import { GATE_HEALTH_PATH, STREAM_PATH } from '../protocol/constants.ts';
import { KtraceError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { AgentPages } from './agent-pages.ts';
import { rejectionOf } from './agent-request.ts';
import { createDoor, isAddressMissing, listen } from './listen.ts';
import { createGateMetrics } from './metrics.ts';
import { type RelayResult, relay } from './relay.ts';

export interface GateOptions {
  socketPath: string;
  /** On 127.0.0.1 and, where there is one, on ::1; 0 lets the kernel choose. */
  port: number;
  /** On all addresses, for Prometheus; 0 lets the kernel choose. */
  metricsPort: number;
  log: Logger;
  /** Websockets relayed at the same time. Default 128. */
  maxConnections?: number;
  /** For the head of a client's request, and for the agent's answer. Default 10 s. */
  handshakeMs?: number;
  /** For the head of a request at the metrics port. Default 1 s. */
  metricsHeadMs?: number;
  /** When one side of a relayed connection has ended, the other is cut after this. Default 10 s. */
  halfClosedMs?: number;
  /** Milliseconds of a clock that is never stepped, in place of this machine's. */
  nowMs?: () => number;
}

const CLIENT_PATHS = ['/healthz', '/readyz', GATE_HEALTH_PATH, STREAM_PATH];
const METRICS_PATHS = ['/healthz', '/readyz', '/metrics'];
const DEFAULT_CONNECTIONS = 128;
/** Beside the websockets, for requests that are answered at once. */
const MORE_CONNECTIONS = 32;
const DEFAULT_HANDSHAKE_MS = 10_000;
const DEFAULT_METRICS_HEAD_MS = 1000;
/** At the metrics port: a scraper, and another one beside it. */
const CONNECTIONS_PER_SOURCE = 4;
const DEFAULT_HALF_CLOSED_MS = 10_000;

/**
 * Opens the unprivileged door to a node's agent. Loopback leads to the websocket and the agent's health, for
 * `pods/portforward`; the metrics port leads to the metrics, and to nothing that tells of packets. Resolves when both listen.
 * @throws KtraceError KTRACE_E_LISTEN
 */
export async function runGate(options: GateOptions): Promise<Gate> {
  const gate = new Gate(options);
  try {
    await gate.open();
    return gate;
  } catch (error) {
    await gate.close();
    throw error;
  }
}

export class Gate {
  /** As bound. */
  port = 0;
  metricsPort = 0;
  readonly #options: GateOptions;
  readonly #maxConnections: number;
  readonly #handshakeMs: number;
  readonly #pages: AgentPages;
  readonly #metrics = createGateMetrics();
  /** Of each client, what cuts its connection. */
  readonly #clients = new Map<Duplex, () => void>();
  readonly #listening: Server[] = [];

  /** Use {@link runGate}. */
  constructor(options: GateOptions) {
    this.#options = options;
    this.#maxConnections = options.maxConnections ?? DEFAULT_CONNECTIONS;
    this.#handshakeMs = options.handshakeMs ?? DEFAULT_HANDSHAKE_MS;
    this.#pages = new AgentPages(options.socketPath, this.#handshakeMs, options.nowMs ?? (() => performance.now()));
  }

  /** Websockets relayed at this moment. */
  get connections(): number {
    return this.#clients.size;
  }

  async open(): Promise<void> {
    const { port, metricsPort, socketPath, log } = this.#options;
    this.port = await this.#openClientDoor(port, '127.0.0.1');
    await this.#openClientDoor(this.port, '::1').catch((error: unknown) => {
      if (!isAddressMissing(error)) throw error;
    });
    const metricsServer = createDoor({
      answer: (request, response) => this.#answerMetrics(request, response),
      connections: MORE_CONNECTIONS,
      perSource: CONNECTIONS_PER_SOURCE,
      headMs: this.#options.metricsHeadMs ?? DEFAULT_METRICS_HEAD_MS,
    });
    this.metricsPort = await listen(metricsServer, metricsPort);
    this.#listening.push(metricsServer);
    log.info({ port: this.port, metricsPort: this.metricsPort, socketPath }, 'the gate is open');
  }

  async close(): Promise<void> {
    const closed = this.#listening.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const server of this.#listening) server.closeAllConnections();
    for (const cut of [...this.#clients.values()]) cut();
    await Promise.all(closed);
  }

  async #openClientDoor(port: number, host: string): Promise<number> {
    const server = createDoor({
      answer: (request, response) => this.#answerClient(request, response),
      upgrade: (request, socket, head) => this.#upgrade(request, socket, head),
      connections: this.#maxConnections + MORE_CONNECTIONS,
      headMs: this.#handshakeMs,
    });
    const bound = await listen(server, port, host);
    this.#listening.push(server);
    return bound;
  }

  #upgrade(request: IncomingMessage, client: Duplex, head: Buffer): void {
    // A client that goes away while it is being refused is no error of ours.
    client.on('error', () => client.destroy());
    const isFull = this.#clients.size >= this.#maxConnections;
    const refused = refuseUpgrade(request) ?? (isFull ? tooMany(this.#maxConnections) : undefined);
    if (refused) {
      this.#countRefused(refused.code);
      client.end(rejectionResponse(refused), () => client.destroy());
      return;
    }
    this.#metrics.connections.inc();
    this.#metrics.connectionsTotal.inc();
    const cut = relay({
      request,
      client,
      head,
      socketPath: this.#options.socketPath,
      answerMs: this.#handshakeMs,
      halfClosedMs: this.#options.halfClosedMs ?? DEFAULT_HALF_CLOSED_MS,
      onClosed: (result) => this.#relayed(client, result),
    });
    this.#clients.set(client, cut);
  }

  #relayed(client: Duplex, { toAgentBytes, toClientBytes, errorCode }: RelayResult): void {
    this.#clients.delete(client);
    this.#metrics.connections.dec();
    this.#metrics.bytes.inc({ to: 'agent' }, toAgentBytes);
    this.#metrics.bytes.inc({ to: 'client' }, toClientBytes);
    if (errorCode) this.#countRefused(errorCode);
    this.#options.log.debug({ toAgentBytes, toClientBytes }, 'a connection has ended');
  }

  async #answerClient(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refused = refuseRequest(request, CLIENT_PATHS) ?? (request.url === STREAM_PATH ? upgradeRequired() : undefined);
    if (refused) this.#refuse(response, refused);
    else if (request.url === GATE_HEALTH_PATH) sayWell(response);
    else await this.#forward(request.url ?? '', response);
  }

  async #answerMetrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refused = refuseRequest(request, METRICS_PATHS);
    if (refused) this.#refuse(response, refused);
    else if (request.url === '/healthz') sayWell(response);
    else if (request.url === '/metrics') await this.#sendMetrics(response);
    else await this.#forward('/readyz', response);
  }

  async #forward(path: string, response: ServerResponse): Promise<void> {
    try {
      const { status, type, body } = await this.#pages.get(path);
      response.writeHead(status, { 'Content-Type': type }).end(body);
    } catch (error) {
      if (!(error instanceof KtraceError)) throw error;
      this.#refuse(response, rejectionOf(error));
    }
  }

  /** The agent's metrics and the gate's; without an agent, the gate's own say that it is missing. */
  async #sendMetrics(response: ServerResponse): Promise<void> {
    const { registry, agentUp } = this.#metrics;
    const agent = await this.#pages.get('/metrics').catch(() => undefined);
    agentUp.set(agent?.status === 200 ? 1 : 0);
    const own = await registry.metrics();
    response.writeHead(200, { 'Content-Type': registry.contentType });
    response.end(agent?.status === 200 ? `${agent.body}\n${own}` : own);
  }

  #refuse(response: ServerResponse, rejection: Rejection): void {
    this.#countRefused(rejection.code);
    response.writeHead(rejection.status, { 'Content-Type': 'application/json' }).end(rejectionBody(rejection));
  }

  #countRefused(code: string): void {
    this.#metrics.refused.inc({ code });
    this.#options.log.debug({ code }, 'refused');
  }
}

/** The gate is well while the agent is not: restarting it would help nobody. */
function sayWell(response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'text/plain' }).end('ok\n');
}

function tooMany(limit: number): Rejection {
  return {
    status: 503,
    code: 'KTRACE_E_BUSY',
    message: `This gate relays ${limit} connections at the same time, and that many are open`,
    hint: 'End another follow, or raise --max-connections (KTRACE_GATE_MAX_CONNECTIONS).',
  };
}

import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { createServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import {
  type Rejection,
  refuseRequest,
  refuseUpgrade,
  rejectionBody,
  rejectionResponse,
  upgradeRequired,
} from '../../protocol/admission.ts';
import { MAX_CLIENT_FRAME_BYTES, STREAM_PATH, SUBPROTOCOL } from '../../protocol/constants.ts';
import type { Counter } from '../../util/counter.ts';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { cutSlowHeads, headLimits } from '../../util/http.ts';
import type { Logger } from '../../util/log.ts';
import { type Authorize, allowAll, type Vouch } from '../access/authorizer.ts';
import { DEFAULT_LIMITS, type Limits } from '../access/limits.ts';
import type { Feed } from '../pipeline/feed.ts';
import type { Recorder } from '../record/recorder.ts';
import { ClientConnection } from './client-connection.ts';
import { METRICS_TYPE, MetricsPage, serverCounters } from './metrics.ts';
import { Sessions } from './sessions.ts';
import { clearSocketPath } from './socket-file.ts';

export interface ServerOptions {
  feed: Feed;
  socketPath: string;
  version: string;
  log: Logger;
  /** Everybody may follow everything where this is not given. */
  authorize?: Authorize;
  /** Everybody is vouched for, and has a client's place from the start, where this is not given. */
  vouch?: Vouch;
  limits?: Partial<Limits>;
  /** What `dump` reads; nothing is recorded where this is not given, or gives nothing yet. */
  recorder?: () => Recorder | undefined;
  /** Counters of what else runs in this process. */
  counters?: () => Counter[];
  /** Milliseconds of a clock that is never stepped, in place of this machine's. */
  nowMs?: () => number;
}

const PATHS = ['/healthz', '/readyz', '/metrics', STREAM_PATH];
const MAX_HEADER_BYTES = 16 * 1024;
/** Beside the websockets that are served, for probes, and for telling all that a gate lets come at once (128) that there is no room. */
const ROOM_TO_REFUSE = 160;

/**
 * Serves `ktrace.v1`, `/healthz`, `/readyz` and `/metrics` on a unix socket; resolves when it listens.
 * @throws KtraceError KTRACE_E_SOCKET, KTRACE_E_SOCKET_IN_USE
 */
export async function startServer(options: ServerOptions): Promise<Server> {
  await clearSocketPath(options.socketPath);
  const server = new Server(options);
  await server.listen();
  return server;
}

/** The agent's server; `close()` says `bye` to all and removes the socket file. */
export class Server {
  readonly #options: ServerOptions;
  readonly #limits: Limits;
  readonly #sessions: Sessions;
  readonly #http: HttpServer;
  /** To be called with the socket of each request that has arrived. */
  readonly #arrived: (socket: Socket) => void;
  readonly #websockets: WebSocketServer;
  readonly #metrics: MetricsPage;
  readonly #connections = new Set<ClientConnection>();
  /** Those who may see something, and the accounts whose right it was, now or before. */
  readonly #admitted = new Map<ClientConnection, ReadonlySet<string>>();
  /** Refused requests and connections ended by an error, by code. */
  readonly #errors = new Map<string, number>();
  #accepted = 0;

  /** Use {@link startServer}. */
  constructor(options: ServerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#sessions = new Sessions(options.feed, this.#limits);
    const { feed, counters = () => [], nowMs = () => performance.now() } = options;
    this.#metrics = new MetricsPage(() => [...feed.counters(), ...this.#counters(), ...counters()], nowMs);
    this.#websockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: MAX_CLIENT_FRAME_BYTES,
      maxFragments: 1024,
      handleProtocols: () => SUBPROTOCOL,
    });
    this.#http = createServer(
      {
        ...headLimits(this.#limits.handshakeMs),
        maxHeaderSize: MAX_HEADER_BYTES,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#arrived = cutSlowHeads(this.#http, this.#limits.handshakeMs);
    this.#http.maxConnections = this.#limits.clients + 2 * this.#limits.strangers + ROOM_TO_REFUSE;
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Connections at this moment. */
  get clients(): number {
    return this.#connections.size;
  }

  get #isFull(): boolean {
    return this.#admitted.size >= this.#limits.clients;
  }

  /** Events and bytes that are kept for clients at this moment. */
  held(): { events: number; bytes: number } {
    return this.#sessions.totals();
  }

  async listen(): Promise<void> {
    const { socketPath } = this.#options;
    this.#http.listen(socketPath);
    await once(this.#http, 'listening');
    // The gate runs as another user, without privileges, and has only this file. Who may see what is decided by the
    // client's token (`authorize`), not by who may connect; the directory is the node's own.
    await chmod(socketPath, 0o666);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    for (const connection of this.#connections) connection.bye('the agent stops');
    this.#sessions.closeAll();
    this.#http.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const connection of this.#connections) connection.terminate();
      this.#http.closeAllConnections();
    }, this.#limits.closingMs);
    await closed;
    clearTimeout(timer);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#arrived(request.socket);
    // A client that goes away while it is being refused is no error of ours.
    socket.on('error', () => socket.destroy());
    const refused = refuseUpgrade(request) ?? (this.#isFull ? tooManyClients(this.#limits.clients) : undefined);
    if (refused) {
      this.#count(refused.code);
      socket.end(rejectionResponse(refused), () => socket.destroy());
      return;
    }
    this.#websockets.handleUpgrade(request, socket, head, (websocket) => {
      const { feed, version, authorize, vouch, recorder, log, nowMs } = this.#options;
      this.#accepted += 1;
      const connection = new ClientConnection({
        socket: websocket,
        transport: socket,
        feed,
        sessions: this.#sessions,
        limits: this.#limits,
        version,
        authorize: authorize ?? allowAll,
        vouch: vouch ?? (async () => true),
        isOpenToAll: vouch === undefined,
        admit: (admitted, accounts) => this.#admit(admitted, accounts),
        recorder: recorder ?? (() => undefined),
        log: log.child({ connection: this.#accepted }),
        nowMs: nowMs ?? (() => performance.now()),
        onError: (code) => this.#count(code),
        onClosed: (closed) => this.#forget(closed),
      });
      this.#connections.add(connection);
      if (vouch === undefined) this.#admitted.set(connection, new Set());
      else this.#makeRoomForStrangers();
    });
  }

  #forget(connection: ClientConnection): void {
    this.#connections.delete(connection);
    this.#admitted.delete(connection);
  }

  /** Whoever has a good token is no stranger for long; who has none makes room for the next. */
  #makeRoomForStrangers(): void {
    const { strangers: most } = this.#limits;
    const strangers = [...this.#connections].filter((connection) => !this.#admitted.has(connection));
    const staying = strangers.filter(({ isEnding }) => !isEnding);
    for (const oldest of staying.slice(0, -most)) oldest.refuse(pushedOut(most));
    // Who was told to go and does not is cut.
    for (const oldest of strangers.slice(0, -2 * most)) {
      oldest.terminate();
      this.#forget(oldest);
    }
  }

  /** It is counted to each of these accounts. */
  #admit(connection: ClientConnection, accounts: readonly string[]): void {
    if (this.#options.vouch === undefined) return;
    const { clients } = this.#limits;
    const before = this.#admitted.get(connection);
    if (before === undefined && this.#isFull) throw asError(tooManyClients(clients));
    for (const account of accounts.filter((one) => before?.has(one) !== true)) {
      const own = [...this.#admitted.values()].filter((others) => others.has(account)).length;
      if (own >= Math.ceil(clients / 2)) throw tooManyOf(account, own);
    }
    this.#admitted.set(connection, new Set([...(before ?? []), ...accounts]));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#arrived(request.socket);
    // One request a connection: nobody has a use for more, and none lingers.
    response.setHeader('Connection', 'close');
    const refused =
      refuseRequest(request, PATHS) ?? (request.url === STREAM_PATH ? upgradeRequired() : this.#notReady(request.url));
    if (refused) {
      this.#count(refused.code);
      response.writeHead(refused.status, { 'Content-Type': 'application/json' }).end(rejectionBody(refused));
      return;
    }
    if (request.url !== '/metrics') {
      response.writeHead(200, { 'Content-Type': 'text/plain' }).end('ok\n');
      return;
    }
    try {
      const text = await this.#metrics.text();
      response.writeHead(200, { 'Content-Type': METRICS_TYPE }).end(text);
    } catch (error) {
      this.#options.log.error({ err: messageOf(error) }, 'the metrics could not be rendered');
      response.writeHead(500).end();
    }
  }

  #notReady(url: string | undefined): Rejection | undefined {
    const reason = url === '/readyz' ? this.#options.feed.notReady() : undefined;
    return reason === undefined ? undefined : { status: 503, code: 'KTRACE_E_NOT_READY', message: reason };
  }

  #counters(): ReturnType<typeof serverCounters> {
    return serverCounters({
      version: this.#options.version,
      clients: this.clients,
      accepted: this.#accepted,
      errors: this.#errors,
      counts: this.#sessions.counts,
      totals: this.#sessions.totals(),
    });
  }

  #count(code: string): void {
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
  }
}

function pushedOut(most: number): KtraceError {
  return new KtraceError('KTRACE_E_BUSY', `${most} newer connections wait to be authorized, and this one had not been yet`, {
    hint: 'Send a good token and the question right after hello.',
  });
}

function tooManyOf(account: string, count: number): KtraceError {
  return new KtraceError('KTRACE_E_BUSY', `${count} connections of ${account} are open, half of what this agent serves`, {
    hint: 'End another follow, or raise --max-clients (KTRACE_MAX_CLIENTS).',
  });
}

function asError({ message, hint }: Rejection): KtraceError {
  return new KtraceError('KTRACE_E_BUSY', message, hint === undefined ? {} : { hint });
}

function tooManyClients(limit: number): Rejection {
  return {
    status: 503,
    code: 'KTRACE_E_BUSY',
    message: `This agent serves ${limit} clients at the same time, and that many are connected`,
    hint: 'End another follow, or raise --max-clients (KTRACE_MAX_CLIENTS).',
  };
}

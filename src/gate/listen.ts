import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { KtraceError, messageOf } from '../util/errors.ts';
import { cutSlowHeads, headLimits } from '../util/http.ts';

const MAX_HEADER_BYTES = 16 * 1024;

export interface DoorOptions {
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Takes a request for a websocket; where this is not given it is answered as any other. */
  upgrade?(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** TCP connections at the same time, websockets among them; of the others the oldest makes room for the next. */
  connections: number;
  /** The same of one source address. Default: no other bound. */
  perSource?: number;
  /** A request's head must have arrived within this. */
  headMs: number;
}

/** An HTTP server that gives nobody much: small heads, little time, one request a connection. */
export function createDoor({ answer, upgrade, connections, perSource = connections, headMs }: DoorOptions): Server {
  const server = createServer({ ...headLimits(headMs), maxHeaderSize: MAX_HEADER_BYTES }, (request, response) => {
    arrived(request.socket);
    response.setHeader('Connection', 'close');
    answer(request, response).catch(() => response.destroy());
  });
  const arrived = cutSlowHeads(server, headMs);
  // Not `maxConnections`, which turns the newest away: whoever fills a door with sockets that say nothing would keep all others out.
  const open = new Set<Socket>();
  const upgraded = new Set<Socket>();
  const cutOldest = (sockets: Socket[], most: number): void => {
    const waiting = sockets.filter((socket) => !upgraded.has(socket));
    for (const socket of waiting.slice(0, Math.max(0, sockets.length - most))) {
      open.delete(socket);
      socket.destroy();
    }
  };
  server.on('connection', (socket) => {
    open.add(socket);
    const { remoteAddress } = socket;
    socket.once('close', () => {
      open.delete(socket);
      upgraded.delete(socket);
    });
    cutOldest(
      [...open].filter((other) => other.remoteAddress === remoteAddress),
      perSource,
    );
    cutOldest([...open], connections);
  });
  // Without a listener Node answers such a request as any other.
  if (upgrade !== undefined) {
    server.on('upgrade', (request, socket, head) => {
      arrived(request.socket);
      upgraded.add(request.socket);
      upgrade(request, socket, head);
    });
  }
  return server;
}

/**
 * Listens and gives the port.
 * @throws KtraceError KTRACE_E_LISTEN
 */
export async function listen(server: Server, port: number, host?: string): Promise<number> {
  server.listen({ port, ...(host === undefined ? {} : { host }) });
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new KtraceError('KTRACE_E_LISTEN', `Cannot listen on port ${port} of ${host ?? 'all addresses'}: ${messageOf(cause)}`, {
      hint: 'Give another port with --port or --metrics-port.',
      cause,
    });
  }
  return (server.address() as AddressInfo).port;
}

/** Whether listening failed because this machine has no such address: without IPv6 there is no `::1`. */
export function isAddressMissing(error: unknown): boolean {
  const code = error instanceof KtraceError ? (error.cause as NodeJS.ErrnoException).code : undefined;
  return code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT';
}

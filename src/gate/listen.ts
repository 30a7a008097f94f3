import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KtraceError, messageOf } from '../util/errors.ts';

const MAX_HEADER_BYTES = 16 * 1024;

export interface DoorOptions {
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** TCP connections at the same time, those that have not said anything yet among them. */
  connections: number;
  /** A request must have arrived within this. */
  handshakeMs: number;
}

/** An HTTP server that gives nobody much: small heads, little time, one request a connection. */
export function createDoor({ answer, connections, handshakeMs }: DoorOptions): Server {
  const server = createServer(
    {
      headersTimeout: handshakeMs,
      requestTimeout: handshakeMs,
      connectionsCheckingInterval: Math.min(1000, handshakeMs),
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    (request, response) => {
      response.setHeader('Connection', 'close');
      answer(request, response).catch(() => response.destroy());
    },
  );
  server.maxConnections = connections;
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

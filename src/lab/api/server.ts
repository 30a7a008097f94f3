import { readFileSync } from 'node:fs';
import { createServer, type Server as HttpsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { namespaceOf } from '../machine/network.ts';
import { writeAtomically } from '../machine/state.ts';
import { readTokens } from '../machine/tokens.ts';
import { API_ADDRESS, API_PORT } from '../plan/plan.ts';
import { handle } from './handler.ts';
import { NamespaceSockets } from './namespace-sockets.ts';
import { Lister } from './objects/list.ts';
import { type Snapshot, Store } from './objects/store.ts';
import { PortForwarder } from './portforward.ts';

export interface ApiServer {
  port: number;
  close(): void;
}

/**
 * Serves a lab's API over TLS: on 127.0.0.1 of the machine, and on the switch for the nodes and pods.
 *
 * @param port 0 picks a free one
 */
export async function serveApi(lab: string, directory: string, port: number): Promise<ApiServer> {
  const store = openStore(directory);
  const context = {
    store,
    lister: new Lister(store),
    tokens: readTokens(directory),
    bookmarkEveryMs: 60_000,
    reviewCounts: new Map<string, number>(),
  };
  const sockets = new NamespaceSockets();
  const forwarder = new PortForwarder(context, lab, sockets);
  const server = createServer({
    key: readFileSync(join(directory, 'server.key')),
    cert: readFileSync(join(directory, 'server.crt')),
  });
  server.on('request', (request, response) => void handle(context, request, response));
  server.on('upgrade', (request, socket, head) => forwarder.upgrade(request, socket, head));
  const [inside] = await Promise.all([
    sockets.listen(namespaceOf(lab, 'switch'), API_ADDRESS, API_PORT),
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    }),
  ]);
  inside.on('connection', (socket) => server.emit('connection', socket));
  return { port: (server.address() as AddressInfo).port, close: () => closeAll(server, inside, sockets) };
}

function closeAll(server: HttpsServer, inside: Server, sockets: NamespaceSockets): void {
  inside.close();
  server.close();
  server.closeAllConnections();
  sockets.close();
}

/** Every change is on disk before the next turn of the loop, so a restarted server goes on where this one ended. */
function openStore(directory: string): Store {
  const file = join(directory, 'objects.json');
  const store = new Store(JSON.parse(readFileSync(file, 'utf8')) as Snapshot);
  const save = () => writeAtomically(file, JSON.stringify(store.snapshot()));
  save();
  let isScheduled = false;
  store.watch(() => {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(() => {
      isScheduled = false;
      save();
    });
  });
  return store;
}

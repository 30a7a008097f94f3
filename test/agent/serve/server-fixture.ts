import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Limits } from '../../../src/agent/access/limits.ts';
import { type Server, type ServerOptions, startServer } from '../../../src/agent/serve/server.ts';
import { createLog } from '../../../src/util/log.ts';
import { cleanUp } from '../../support/clean-up.ts';
import { FakeFeed } from './fake-feed.ts';
import { type ClientOptions, StreamClient, unixUrl } from './stream-client.ts';

export interface Fixture {
  feed: FakeFeed;
  server: Server;
  socketPath: string;
  connect(options?: ClientOptions): StreamClient;
}

export const quiet = createLog('test', 'silent');

/** A directory that is gone after the test. */
export async function temporaryDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'ktrace-server-'));
  cleanUp(t, () => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A server on a unix socket of its own over a fake feed; closed after the test, and its clients cut. */
export async function serve(
  t: TestContext,
  limits: Partial<Limits> = {},
  options: Partial<ServerOptions> = {},
): Promise<Fixture> {
  const socketPath = options.socketPath ?? join(await temporaryDirectory(t), 'agent.sock');
  const feed = new FakeFeed();
  const server = await startServer({ feed, version: '1.2.3', log: quiet, limits, ...options, socketPath });
  const clients: StreamClient[] = [];
  cleanUp(t, async () => {
    for (const client of clients) client.socket.terminate();
    await server.close();
  });
  const connect = (clientOptions?: ClientOptions): StreamClient => {
    const client = new StreamClient(unixUrl(socketPath), clientOptions);
    clients.push(client);
    return client;
  };
  return { feed, server, socketPath, connect };
}

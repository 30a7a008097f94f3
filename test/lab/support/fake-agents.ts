import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { WebSocketServer } from 'ws';
import { agentSocket, startGate } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { stopProcess } from '../../../src/lab/machine/processes.ts';
import { SUBPROTOCOL } from '../../../src/protocol/constants.ts';
import { until } from '../../support/until.ts';

/** What answers, or does not, at the agents' sockets. */
export type FakeBehaviour = 'silent' | 'closing' | 'garbage' | 'not-json' | 'wrong-node';

/** Real gates on all nodes of a lab without agents, and behind them something that is no agent. */
export async function fakeAgents(lab: Lab, behaviour: FakeBehaviour): Promise<{ close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const gates = lab.pods.filter(({ workload }) => workload === 'gate');
  const servers = await Promise.all(
    gates.map(async ({ node }) => {
      const path = agentSocket(lab.directory, node);
      mkdirSync(dirname(path), { recursive: true });
      chmodSync(dirname(path), 0o755);
      rmSync(path, { force: true });
      const server = serverThatIs(behaviour);
      server.on('connection', (socket: Socket) => {
        sockets.add(socket);
        socket.on('error', () => undefined);
      });
      await new Promise<void>((resolve) => server.listen(path, resolve));
      chmodSync(path, 0o666);
      return server;
    }),
  );
  for (const gate of gates) startGate(lab.name, lab.directory, gate);
  for (const gate of gates) {
    await until(
      `${gate.name} listens`,
      async () => (await lab.exec(`pod/${gate.name}`, ['ss', '-Hltn'])).includes('127.0.0.1:'),
      30_000,
    );
  }
  return {
    async close() {
      await Promise.all(gates.map(({ node }) => stopProcess(lab.directory, `gate-${node}`, 'SIGKILL')));
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
      for (const { node } of gates) rmSync(agentSocket(lab.directory, node), { force: true });
    },
  };
}

function serverThatIs(behaviour: FakeBehaviour): Server {
  switch (behaviour) {
    case 'silent':
      return createServer((socket) => socket.resume());
    case 'closing':
      return createServer((socket) => socket.destroy());
    case 'garbage':
      return createServer((socket) => void socket.on('data', () => socket.write('\u0000\u0007what is this?\r\n\r\n')));
    case 'not-json':
      return websocketServer('{"type": "hello", ');
    case 'wrong-node':
      return websocketServer(
        JSON.stringify({
          type: 'hello',
          node: 'elsewhere',
          instance: 'a1b2c3',
          version: '0.1.0',
          protocol: SUBPROTOCOL,
          clock: '1',
        }),
      );
  }
}

function websocketServer(firstWords: string): Server {
  const http = createHttpServer();
  const websockets = new WebSocketServer({ server: http, handleProtocols: () => SUBPROTOCOL });
  websockets.on('connection', (socket) => {
    socket.on('error', () => undefined);
    socket.send(firstWords);
  });
  return http;
}

import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { type WebSocket, WebSocketServer } from 'ws';
import { GATE_SELECTOR, KTRACE_NAMESPACE } from '../../../src/protocol/constants.ts';

/** An API server that holds a few objects and forwards ports to where a test says. */
export interface FakeApi {
  url: string;
  config: KubeConfig;
  /** Objects by path; a path with its last element cut is their list. */
  objects: Map<string, unknown>;
  /** By path: the status to answer with instead. */
  refused: Map<string, number>;
  /** Every label selector that was asked by. */
  selectors: string[];
  /** TCP ports behind `pods/portforward`, by pod; a pod that is not here refuses the connection. */
  ports: Map<string, number>;
  /** Cuts all port-forwards. */
  cut(): void;
  close(): Promise<void>;
}

export async function startFakeApi(): Promise<FakeApi> {
  const objects = new Map<string, unknown>();
  const refused = new Map<string, number>();
  const selectors: string[] = [];
  const ports = new Map<string, number>();
  const sockets = new Set<WebSocket>();
  const http = createServer((request, response) => {
    const { pathname: path, searchParams } = new URL(request.url ?? '', 'http://api');
    const selector = searchParams.get('labelSelector');
    if (selector !== null) selectors.push(selector);
    const { status, body } = answer(path, objects, refused);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  const forwards = new WebSocketServer({ noServer: true, handleProtocols: () => 'v4.channel.k8s.io' });
  http.on('upgrade', (request: IncomingMessage, socket, head) => {
    const path = new URL(request.url ?? '', 'http://api').pathname;
    const status = refused.get(path);
    if (status !== undefined) {
      socket.end(`HTTP/1.1 ${status} Refused\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    forwards.handleUpgrade(request, socket, head, (client) => {
      sockets.add(client);
      forward(client, ports.get(path.split('/').at(-2) ?? ''));
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: 'fake', server: url, skipTLSVerify: true }, { name: 'user', token: 'secret' });
  return {
    url,
    config,
    objects,
    refused,
    selectors,
    ports,
    cut: () => {
      for (const socket of sockets) socket.terminate();
    },
    close: async () => {
      for (const socket of sockets) socket.terminate();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

/** A gate's pod, as the API has it. */
export function gatePod(name: string, node: string, isReady = true): [path: string, pod: unknown] {
  const labels = Object.fromEntries(GATE_SELECTOR.split(',').map((pair) => pair.split('=')));
  return [
    `/api/v1/namespaces/${KTRACE_NAMESPACE}/pods/${name}`,
    {
      metadata: { name, namespace: KTRACE_NAMESPACE, labels },
      spec: { nodeName: node },
      status: { phase: 'Running', conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False' }] },
    },
  ];
}

function answer(path: string, objects: Map<string, unknown>, refused: Map<string, number>): { status: number; body: unknown } {
  const status = refused.get(path);
  if (status !== undefined) return { status, body: { kind: 'Status', message: 'refused', reason: 'Forbidden', code: status } };
  const object = objects.get(path);
  if (object !== undefined) return { status: 200, body: object };
  const items = [...objects].filter(([key]) => key.slice(0, key.lastIndexOf('/')) === path).map(([, item]) => item);
  if (items.length > 0 || /\/(pods|namespaces|services|nodes)$/.test(path))
    return { status: 200, body: { kind: 'List', metadata: {}, items } };
  const name = path.slice(path.lastIndexOf('/') + 1);
  return {
    status: 404,
    body: { kind: 'Status', reason: 'NotFound', message: `"${name}" not found`, details: { name }, code: 404 },
  };
}

/** Channels 0 (data) and 1 (errors), each begun with the port in two bytes. */
function forward(client: WebSocket, port: number | undefined): void {
  client.send(Buffer.from([0, 0, 0]));
  client.send(Buffer.from([1, 0, 0]));
  if (port === undefined) {
    client.send(Buffer.concat([Buffer.from([1]), Buffer.from('connection refused')]));
    return;
  }
  const socket: Socket = connect(port, '127.0.0.1');
  socket.on('data', (chunk) => {
    client.send(Buffer.concat([Buffer.from([0]), chunk]), () => socket.resume());
    if (client.bufferedAmount > 1 << 20) socket.pause();
  });
  socket.on('close', () => client.close());
  socket.on('error', () => client.close());
  client.on('message', (data: Buffer) => data[0] === 0 && socket.write(data.subarray(1)));
  client.on('close', () => socket.destroy());
}

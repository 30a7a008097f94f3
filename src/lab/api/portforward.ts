import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import { messageOf } from '../../util/errors.ts';
import { namespaceOf } from '../machine/network.ts';
import type { ApiObject } from '../plan/types.ts';
import { type ApiContext, authenticate, authorizeForward } from './handler.ts';
import type { NamespaceSockets } from './namespace-sockets.ts';
import { parsePath, type ResourcePath } from './objects/request.ts';
import { badRequest, noSuchPath, StatusError, statusObject } from './objects/status.ts';

/** The subprotocol that a kubelet takes for port-forwarding: binary frames, the first byte is the channel. */
const SUBPROTOCOL = 'v4.channel.k8s.io';
/** Bytes waiting for a slow client after which the pod's side is no longer read. */
const HIGH_WATER = 1 << 20;

/**
 * Answers websocket upgrades to `pods/NAME/portforward?ports=N`. Channel 0 carries data, channel 1 errors; each begins
 * with the port as two bytes, little-endian (kubelet `pkg/kubelet/cri/streaming/portforward/websocket.go`).
 */
export class PortForwarder {
  readonly #context: ApiContext;
  readonly #lab: string;
  readonly #sockets: NamespaceSockets;
  readonly #server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });

  constructor(context: ApiContext, lab: string, sockets: NamespaceSockets) {
    this.#context = context;
    this.#lab = lab;
    this.#sockets = sockets;
  }

  /** Takes over an upgrade request. Refusals are HTTP answers with a `Status` body, before any websocket is made. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    try {
      const url = new URL(request.url ?? '/', 'https://lab');
      const target = parsePath(url.pathname);
      const pod = this.#podOf(request, target);
      const port = portOf(url.searchParams);
      this.#server.handleUpgrade(request, socket, head, (client) => {
        this.#forward(client, pod, port).catch((error) => client.close(1011, messageOf(error).slice(0, 100)));
      });
    } catch (error) {
      refuse(socket, error instanceof StatusError ? error : badRequest(messageOf(error)));
    }
  }

  #podOf(request: IncomingMessage, target: ResourcePath | undefined): ApiObject {
    const user = authenticate(this.#context, request);
    if (target?.resource.plural !== 'pods' || target.subresource !== 'portforward' || target.name === undefined)
      throw noSuchPath();
    authorizeForward(this.#context, user, target);
    return this.#context.store.get(target.resource, target.namespace, target.name);
  }

  async #forward(client: WebSocket, pod: ApiObject, port: number): Promise<void> {
    const portBytes = Buffer.from([port & 0xff, port >> 8]);
    client.send(Buffer.concat([Buffer.from([0]), portBytes]));
    client.send(Buffer.concat([Buffer.from([1]), portBytes]));
    // What arrives before the pod's side is connected waits in the socket.
    client.pause();
    const spec = pod['spec'] as { nodeName: string; hostNetwork?: boolean };
    const namespace = spec.hostNetwork
      ? `kt-${this.#lab}-${spec.nodeName}`
      : namespaceOf(this.#lab, { name: pod.metadata.name } as never);
    let peer: Socket;
    try {
      peer = await this.#sockets.connect(namespace, '127.0.0.1', port);
    } catch (error) {
      const text = `error forwarding port ${port} to pod ${pod.metadata.name}, uid ${pod.metadata.uid}: ${messageOf(error)}`;
      client.send(Buffer.concat([Buffer.from([1]), Buffer.from(text)]));
      client.resume();
      client.close(1000);
      return;
    }
    join(client, peer);
  }
}

function join(client: WebSocket, peer: Socket): void {
  client.on('message', (data: RawData, isBinary) => {
    const frame = isBinary && Buffer.isBuffer(data) ? data : undefined;
    if (frame === undefined || frame[0] !== 0) return;
    if (frame.length > 1 && !peer.write(frame.subarray(1))) client.pause();
  });
  peer.on('drain', () => client.resume());
  peer.on('data', (data: Buffer) => {
    client.send(Buffer.concat([Buffer.from([0]), data]), () => {
      if (peer.isPaused() && client.bufferedAmount < HIGH_WATER) peer.resume();
    });
    if (client.bufferedAmount > HIGH_WATER) peer.pause();
  });
  peer.on('error', () => peer.destroy());
  peer.on('close', () => client.close(1000));
  client.on('error', () => client.terminate());
  client.on('close', () => peer.destroy());
  client.resume();
  peer.resume();
}

function portOf(query: URLSearchParams): number {
  const text = query.get('ports') ?? query.get('port');
  if (text === null) throw new PlainRefusal('query parameter "port" is required');
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65535)
    throw badRequest(`cannot convert to []int32: parsing ${JSON.stringify(text)}: invalid syntax`);
  return port;
}

/** What the kubelet refuses comes as a text. */
class PlainRefusal extends StatusError {
  constructor(message: string) {
    super(400, 'BadRequest', message);
  }
}

function refuse(socket: Duplex, error: StatusError): void {
  const isPlain = error instanceof PlainRefusal;
  const body = isPlain ? error.message : JSON.stringify(statusObject(error));
  const type = isPlain ? 'text/plain' : 'application/json';
  const head = `HTTP/1.1 ${error.status} ${error.reason}\r\ncontent-type: ${type}\r\nconnection: close`;
  socket.end(`${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

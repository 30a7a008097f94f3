import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { KubeAccess } from '../../../src/kube/api/api.ts';
import type { RawObject } from '../fixtures.ts';

export type Kind = 'pods' | 'services' | 'endpointslices' | 'nodes';
export type Verb = 'list' | 'watch';

/** Answers a request in some wrong way; returns false to let the right answer follow. */
export type Fault = (response: ServerResponse, request: IncomingMessage) => boolean | undefined;

/** An API server over loopback HTTP that can be made to misbehave. */
export interface FakeApi {
  access: KubeAccess;
  url: string;
  put(kind: Kind, raw: RawObject): void;
  remove(kind: Kind, name: string, namespace?: string): void;
  /** The next such requests are answered by these, one each. */
  fault(kind: Kind, verb: Verb, ...faults: Fault[]): void;
  /** Sends a line to all watchers of a kind. */
  send(kind: Kind, line: string): void;
  bookmark(kind: Kind): string;
  /** Changes without an event, and forgets the past: a watch from before is answered with 410. */
  compact(): void;
  /** Breaks the connections of all watchers of a kind. */
  cut(kind: Kind): void;
  requests: { kind: Kind; verb: Verb; query: URLSearchParams }[];
  watchers(kind?: Kind): number;
  connections(): number;
  stop(): Promise<void>;
  /** On the same port. */
  restart(): Promise<void>;
}

const PATHS: Record<string, Kind> = {
  '/api/v1/pods': 'pods',
  '/api/v1/services': 'services',
  '/apis/discovery.k8s.io/v1/endpointslices': 'endpointslices',
  '/api/v1/nodes': 'nodes',
};

export async function fakeApi(): Promise<FakeApi> {
  const objects = new Map<Kind, Map<string, RawObject>>();
  const past: { version: number; kind: Kind; line: string }[] = [];
  const faults = new Map<string, Fault[]>();
  const watching = new Set<{ kind: Kind; response: ServerResponse }>();
  const sockets = new Set<Socket>();
  const requests: FakeApi['requests'] = [];
  let version = 100;
  let oldest = 0;
  const of = (kind: Kind) => objects.get(kind) ?? objects.set(kind, new Map()).get(kind) ?? new Map<string, RawObject>();
  const emit = (kind: Kind, type: string, object: RawObject) => {
    version += 1;
    const line = JSON.stringify({
      type,
      object: { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } },
    });
    past.push({ version, kind, line });
    for (const one of watching) if (one.kind === kind) one.response.write(`${line}\n`);
  };

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://x');
    const kind = PATHS[url.pathname];
    if (!kind) return void response.writeHead(404).end('{}');
    const verb = url.searchParams.has('watch') ? 'watch' : 'list';
    requests.push({ kind, verb, query: url.searchParams });
    const fault = faults.get(`${kind} ${verb}`)?.shift();
    if (fault && fault(response, request) !== false) return;
    if (verb === 'list') list(kind, url.searchParams, response, request.headers['accept-encoding'] === 'gzip');
    else watch(kind, Number(url.searchParams.get('resourceVersion')), response);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });

  /** Packed where it is asked for, as a real server does from 128 kB on. */
  function list(kind: Kind, query: URLSearchParams, response: ServerResponse, isPacked: boolean): void {
    const all = [...of(kind).values()];
    const from = Number(query.get('continue') ?? 0);
    const to = from + Number(query.get('limit') ?? all.length);
    const more = to < all.length ? { continue: String(to) } : {};
    const text = JSON.stringify({ metadata: { resourceVersion: String(version), ...more }, items: all.slice(from, to) });
    if (isPacked) response.setHeader('content-encoding', 'gzip');
    response.end(isPacked ? gzipSync(text) : text);
  }

  function watch(kind: Kind, from: number, response: ServerResponse): void {
    if (from < oldest) return void response.writeHead(410).end(JSON.stringify({ kind: 'Status', code: 410, message: 'too old' }));
    response.writeHead(200);
    response.flushHeaders();
    for (const one of past) if (one.kind === kind && one.version > from) response.write(`${one.line}\n`);
    const me = { kind, response };
    watching.add(me);
    response.on('close', () => watching.delete(me));
  }

  const send = (kind: Kind, line: string) => {
    for (const one of watching) if (one.kind === kind) one.response.write(`${line}\n`);
  };
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    requests,
    access: {
      getCurrentCluster: () => ({ server: url }),
      applyToHTTPSOptions: async (options) => {
        options.headers = { authorization: 'Bearer secret' };
      },
    },
    put(kind, raw) {
      const key = `${raw.metadata.namespace}/${raw.metadata.name}`;
      const type = of(kind).has(key) ? 'MODIFIED' : 'ADDED';
      of(kind).set(key, raw);
      emit(kind, type, raw);
    },
    remove(kind, name, namespace = 'default') {
      const raw = of(kind).get(`${namespace}/${name}`);
      of(kind).delete(`${namespace}/${name}`);
      if (raw) emit(kind, 'DELETED', raw);
    },
    fault(kind, verb, ...more) {
      faults.set(`${kind} ${verb}`, [...(faults.get(`${kind} ${verb}`) ?? []), ...more]);
    },
    send,
    bookmark(kind) {
      version += 1;
      send(kind, JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(version) } } }));
      return String(version);
    },
    compact() {
      oldest = version + 1;
      version += 2;
      past.length = 0;
    },
    cut(kind) {
      for (const one of watching) if (one.kind === kind) one.response.destroy();
    },
    watchers: (kind) => [...watching].filter((one) => kind === undefined || one.kind === kind).length,
    connections: () => sockets.size,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
    restart: () => listen(port),
  };
}

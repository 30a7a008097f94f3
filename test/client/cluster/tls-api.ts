import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createProxy, type IncomingHttpHeaders } from 'node:http';
import { createServer, type ServerOptions } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import { createCertificates } from '../../../src/lab/machine/certificates.ts';

/** An API server behind TLS that tells who asked, and echoes what is sent through a port-forward. */
export interface TlsApi {
  url: string;
  port: number;
  /** Has `ca.crt`, and `client.crt` and `client.key` of the user `certified`. */
  folder: string;
  /** Who asked, by certificate or token, in order. */
  seen: string[];
  /** Whom they wanted to be, with groups, of those who wanted that. */
  impersonated: string[];
}

export async function tlsApi(t: TestContext): Promise<TlsApi> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-tls-'));
  t.after(() => rmSync(folder, { recursive: true }));
  await createCertificates(folder);
  clientCertificate(folder, 'client', 'certified');
  const read = (name: string) => readFileSync(join(folder, name));
  const options: ServerOptions = {
    key: read('server.key'),
    cert: read('server.crt'),
    ca: read('ca.crt'),
    requestCert: true,
    rejectUnauthorized: false,
  };
  const seen: string[] = [];
  const impersonated: string[] = [];
  const note = (headers: IncomingHttpHeaders): void => {
    const { 'impersonate-user': user, 'impersonate-group': groups } = headers;
    if (user !== undefined) impersonated.push(`${user} (${groups ?? ''})`);
  };
  const whose = (socket: TLSSocket, authorization = ''): string | undefined => {
    const named = socket.authorized ? socket.getPeerCertificate().subject.CN : undefined;
    const user = (Array.isArray(named) ? named[0] : named) ?? /^Bearer (.+)$/.exec(authorization)?.[1];
    if (user !== undefined) seen.push(user);
    return user;
  };
  const server = createServer(options, (request, response) => {
    const user = whose(request.socket as TLSSocket, request.headers.authorization);
    note(request.headers);
    const body = user === undefined ? { kind: 'Status', code: 401, reason: 'Unauthorized' } : { user };
    response.writeHead(user === undefined ? 401 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  const forwards = new WebSocketServer({ noServer: true, handleProtocols: () => 'v4.channel.k8s.io' });
  server.on('upgrade', (request, socket, head) => {
    if (whose(request.socket as TLSSocket, request.headers.authorization) === undefined) return void socket.destroy();
    note(request.headers);
    forwards.handleUpgrade(request, socket, head, (client) => {
      for (const channel of [0, 1]) client.send(Buffer.from([channel, 0, 0]));
      client.on('message', (data: Buffer) => client.send(data));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const client of forwards.clients) client.terminate();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `https://127.0.0.1:${port}`, port, folder, seen, impersonated };
}

/** Another user's certificate, signed by the server's own authority. */
function clientCertificate(folder: string, name: string, user: string): void {
  const file = (extension: string) => join(folder, `${name}.${extension}`);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file('key')];
  const quiet = { stdio: ['ignore', 'ignore', 'ignore'] as ['ignore', 'ignore', 'ignore'] };
  execFileSync('openssl', ['req', ...key, '-subj', `/CN=${user}`, '-out', file('csr')], quiet);
  const signer = ['-CA', join(folder, 'ca.crt'), '-CAkey', join(folder, 'ca.key'), '-CAcreateserial', '-days', '1'];
  execFileSync('openssl', ['x509', '-req', '-in', file('csr'), ...signer, '-out', file('crt')], quiet);
}

/** A proxy that makes tunnels (`CONNECT`), and notes where to. It reaches one place whatever it is asked for. */
export async function connectProxy(t: TestContext, to: number): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const proxy = createProxy((_, response) => response.writeHead(400).end());
  proxy.on('connect', (request, socket: Socket) => {
    asked.push(request.url ?? '');
    const there = connect(to, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(there).pipe(socket);
    });
    for (const one of [socket, there]) {
      sockets.add(one);
      one.on('error', () => socket.destroy());
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, asked };
}

/** A kubeconfig in a folder of the API server, with one user. Gives its path. */
export function writeKubeconfig(api: TlsApi, user: object, cluster: object = {}): string {
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: api.url, 'certificate-authority': 'ca.crt', ...cluster } }],
    users: [{ name: 'u', user }],
  };
  const file = join(api.folder, 'kubeconfig');
  writeFileSync(file, JSON.stringify(kubeconfig));
  return file;
}

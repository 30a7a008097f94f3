import type { IncomingMessage } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';

/** Requests at the same time: enough to keep a kube-apiserver busy, few enough not to be what is measured. */
const AT_ONCE = 24;

/** A real API server, as an administrator. */
export interface AdminApi {
  server: URL;
  /** PEM of the certificate authority that the server's certificate is checked against. */
  ca: string;
  /** One request; gives the answer's JSON. @throws Error with the server's own message */
  call<T = unknown>(method: string, path: string, body?: object, type?: string): Promise<T>;
  /** The answer as text. */
  text(path: string): Promise<string>;
  close(): void;
}

/** The API server that `KUBECONFIG` names; the user's default kubeconfig is never taken, for this fills a cluster with objects. */
export async function adminApi(env: NodeJS.ProcessEnv): Promise<AdminApi> {
  const path = env['KUBECONFIG'];
  if (!path) throw new Error('Expected KUBECONFIG to name a cluster that may be filled with thousands of objects, got none');
  const config = new KubeConfig();
  config.loadFromFile(path);
  const server = new URL(config.getCurrentCluster()?.server ?? '');
  const access: RequestOptions = {};
  await config.applyToHTTPSOptions(access);
  const { cert, key, pfx, ca } = access;
  const agent = new Agent({
    keepAlive: true,
    maxSockets: AT_ONCE,
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(pfx && { pfx }),
  });
  const text = async (method: string, path: string, body?: object, type = 'application/json'): Promise<string> => {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const headers = { ...(access.headers as Record<string, string>), 'content-type': type, 'user-agent': 'ktrace-bench' };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request(new URL(path, server), { method, headers, agent }, resolve).on('error', reject).end(sent);
    });
    const parts: Buffer[] = [];
    for await (const part of response) parts.push(part as Buffer);
    const answer = Buffer.concat(parts).toString('utf8');
    if ((response.statusCode ?? 0) >= 300) throw new ApiFailure(`${method} ${path}: ${answer}`, response.statusCode ?? 0);
    return answer;
  };
  return {
    server,
    ca: String(ca ?? ''),
    call: async <T>(method: string, path: string, body?: object, type?: string) =>
      JSON.parse(await text(method, path, body, type)) as T,
    text: (path) => text('GET', path),
    close: () => agent.destroy(),
  };
}

/** An answer that is no success. */
export class ApiFailure extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** Lets an object be there already. */
export function unlessThere(error: unknown): undefined {
  if (!(error instanceof ApiFailure && error.status === 409)) throw error;
}

/** Runs all jobs, a bounded number at a time. */
export async function inParallel(count: number, job: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      next += 1;
      await job(next - 1);
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count) }, worker));
}

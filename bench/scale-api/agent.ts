import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { AUDIENCE } from '../../src/access/scope.ts';
import { Stream } from '../../src/client/wire/stream.ts';
import { ktraceCommand, ktraceEnvironment } from '../../src/lab/agents.ts';
import { projectRoot } from '../../src/lab/machine/program.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';
import type { AgentMessage } from '../../src/protocol/messages.ts';
import { cpuSeconds, end } from '../processes.ts';
import { type AdminApi, unlessThere } from './api.ts';
import { LABEL, NAMESPACE, OWN_NODE } from './objects.ts';

const NAME = 'ktrace-scale-agent';
const ACCOUNTS = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`;
const ROLES = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const BINDINGS = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
const READY_WITHIN_MS = 180_000;

interface Manifest {
  kind: string;
  metadata: { name: string };
  rules?: object[];
}

/** How an agent came up. */
export interface Start {
  readyAfterMs: number;
  cpuSeconds: number;
  bytesRead: number;
  peakResidentBytes: number;
}

/** An agent of the node {@link OWN_NODE} as a DaemonSet runs it: with an account's token and the rights of the manifests. */
export class MeasuredAgent {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ktrace-scale-'));
  readonly #api: AdminApi;
  #child: ChildProcess | undefined;

  constructor(api: AdminApi) {
    this.#api = api;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** The account of the agent, with what `deploy/base` gives it, and one of a follower that sees everything. */
  async begin(): Promise<void> {
    const roles = ['access', 'rbac'].flatMap(
      (file) => loadAll(readFileSync(join(projectRoot(), `deploy/base/${file}.yaml`), 'utf8')) as Manifest[],
    );
    for (const account of ['agent', 'admin']) {
      const name = `ktrace-scale-${account}`;
      const rules = roles.find((one) => one.kind === 'ClusterRole' && one.metadata.name === `ktrace-${account}`)?.rules;
      if (rules === undefined) throw new Error(`Expected a ClusterRole ktrace-${account} in deploy/base, found none`);
      const subject = { kind: 'ServiceAccount', name, namespace: NAMESPACE };
      const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name };
      await this.#api.call('POST', ACCOUNTS, { metadata: { name } }).catch(unlessThere);
      await this.#api.call('POST', ROLES, { metadata: { name, labels: LABEL }, rules }).catch(unlessThere);
      await this.#api
        .call('POST', BINDINGS, { metadata: { name, labels: LABEL }, roleRef, subjects: [subject] })
        .catch(unlessThere);
    }
    writeFileSync(join(this.#folder, 'token'), await this.#mint(NAME));
    writeFileSync(join(this.#folder, 'ca.crt'), this.#api.ca);
  }

  /** Starts it, and waits until it knows all names. @throws Error with the end of its log */
  async start(): Promise<Start> {
    const { hostname, port } = this.#api.server;
    const log = openSync(this.#log, 'w');
    const startMs = performance.now();
    const child = spawn(ktraceCommand(), ['agent', '--node', OWN_NODE, '--socket', this.#socket], {
      stdio: ['ignore', log, log],
      env: {
        ...ktraceEnvironment(),
        ...imageEnvironment(),
        KUBERNETES_SERVICE_HOST: hostname.replace(/^\[|\]$/g, ''),
        KUBERNETES_SERVICE_PORT: port || '443',
        KTRACE_SERVICE_ACCOUNT: this.#folder,
      },
    });
    this.#child = child;
    const isReady = await waitFor(
      async () => {
        if (child.exitCode !== null) return 'ended';
        return (await this.#get('/readyz').catch(() => ({ status: 0 }))).status === 200 ? 'ready' : undefined;
      },
      READY_WITHIN_MS,
      50,
    );
    if (isReady !== 'ready')
      throw new Error(`The agent did not get ready. Its log ends with:\n${readFileSync(this.#log, 'utf8').slice(-2000)}`);
    return {
      readyAfterMs: performance.now() - startMs,
      cpuSeconds: cpuSeconds([this.pid]),
      bytesRead: bytesRead(this.pid),
      peakResidentBytes: statusBytes(this.pid, 'VmHWM'),
    };
  }

  /** The agent's metrics: name with labels → value. */
  async metrics(): Promise<Map<string, number>> {
    return parseMetrics((await this.#get('/metrics')).text);
  }

  /** Follows all pods of the node as a client does, with a token that the API server reviews; returns what ends it. */
  async follow(): Promise<() => Promise<void>> {
    const token = await this.#mint('ktrace-scale-admin', [AUDIENCE]);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stream = new Stream(connect(this.#socket), {
      opened: () => undefined,
      message(message: AgentMessage) {
        if (message.type === 'hello') {
          stream.send({ type: 'auth', token });
          stream.send({ type: 'subscribe', targets: [{ kind: 'all' }], addresses: [], units: 'flows' });
        } else if (message.type === 'subscribed') {
          stream.send({ type: 'credit', events: 1_000_000 });
          resolve();
        }
      },
      ended: reject,
    });
    await promise;
    return () => stream.close();
  }

  async stop(): Promise<void> {
    if (this.#child) await end(this.#child);
    this.#child = undefined;
  }

  /** Takes it down with everything that {@link begin} made outside of the namespace. */
  async clear(): Promise<void> {
    await this.stop();
    for (const account of ['agent', 'admin'])
      for (const path of [BINDINGS, ROLES])
        await this.#api.call('DELETE', `${path}/ktrace-scale-${account}`).catch(() => undefined);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #socket(): string {
    return join(this.#folder, 'agent.sock');
  }

  get #log(): string {
    return join(this.#folder, 'agent.log');
  }

  async #mint(account: string, audiences?: string[]): Promise<string> {
    const spec = { expirationSeconds: 7200, ...(audiences && { audiences }) };
    const answer = await this.#api.call<{ status: { token: string } }>('POST', `${ACCOUNTS}/${account}/token`, { spec });
    return answer.status.token;
  }

  #get(path: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#socket, path }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text })).on('error', reject);
      });
      asked.on('error', reject).end();
    });
  }
}

/** The Prometheus text format: name with labels → value. */
export function parseMetrics(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    const space = line.lastIndexOf(' ');
    if (!line.startsWith('#') && space > 0) found.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return found;
}

/** Resident memory that no other process shares, and what would be shared among agents and gates: Node's binary and libraries. */
export function memory(pid: number): { residentBytes: number; ownBytes: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN) * 1024;
  return { residentBytes: field('Rss'), ownBytes: field('Private_Clean') + field('Private_Dirty') };
}

/** What a process has read by read(2) so far: from the API server, and in the beginning its own program's files. */
export function bytesRead(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? Number.NaN);
}

function statusBytes(pid: number, name: string): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN) * 1024;
}

/** The variables that the image sets, so that the agent runs here as it runs there. */
function imageEnvironment(): NodeJS.ProcessEnv {
  const text = readFileSync(join(projectRoot(), 'Dockerfile'), 'utf8');
  return Object.fromEntries([...text.matchAll(/^ENV ((?:NODE|MALLOC)_\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
}

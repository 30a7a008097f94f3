import { accessSync, chmodSync, constants, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { GATE_PORT } from '../protocol/constants.ts';
import { KtraceError } from '../util/errors.ts';
import { serviceAccountOf } from './machine/kubeconfig.ts';
import { namespaceOf } from './machine/network.ts';
import { isRunning } from './machine/proc.ts';
import { type LabProcess, logTail, recordedProcess, startProcess, stopProcess } from './machine/processes.ts';
import { projectRoot } from './machine/program.ts';
import { readState } from './machine/state.ts';
import { waitFor } from './machine/wait.ts';
import type { LabPod } from './plan/plan.ts';
import { API_ADDRESS, API_PORT, nodeNamed } from './plan/plan.ts';

/** One that ends is noticed at once; an emulated machine takes 40 s for six of them. */
const READY_TIMEOUT_MS = 90_000;

/** Where a node's agent listens. */
export function agentSocket(directory: string, node: string): string {
  return join(directory, node, 'agent.sock');
}

/** Whether this checkout or package has the command that agents and gates are. */
export function hasKtraceCommand(): boolean {
  try {
    accessSync(ktraceCommand(), constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The path of `bin/ktrace`. */
export function ktraceCommand(): string {
  return join(projectRoot(), 'bin', 'ktrace');
}

/** The environment in which `bin/ktrace` finds the package's own Node first. */
export function ktraceEnvironment(): NodeJS.ProcessEnv {
  const path = [dirname(process.execPath), process.env['PATH'] ?? '', '/usr/sbin', '/sbin', '/usr/bin', '/bin'].join(':');
  return { PATH: path };
}

/**
 * What the Dockerfile sets, and why it does stands there: memory measured in the lab is memory as the image takes it. In a container that is limited to the
 * manifests' 512 or 192 MiB, Node gives V8's heap 256 MiB by itself; a process of the lab has no such limit.
 */
const IMAGE_ENVIRONMENT = {
  NODE_OPTIONS: '--max-semi-space-size=4 --max-old-space-size=256',
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
  UV_THREADPOOL_SIZE: '8',
};

/** Starts a node's agent, as root in the node's namespace. */
export function startAgent(lab: string, directory: string, node: string, flags: readonly string[] = []): LabProcess {
  const socket = agentSocket(directory, node);
  mkdirSync(dirname(socket), { recursive: true, mode: 0o755 });
  chmodSync(dirname(socket), 0o755);
  return startProcess(
    directory,
    agentName(node),
    [
      ...['ip', 'netns', 'exec', namespaceOf(lab, nodeNamed(node)), ktraceCommand(), 'agent', '--node', node],
      ...['--socket', socket, ...recordFlags(directory, node), ...flags],
    ],
    // As a pod has it: the agent finds the API server and its own rights without a kubeconfig.
    {
      ...ktraceEnvironment(),
      ...IMAGE_ENVIRONMENT,
      KUBERNETES_SERVICE_HOST: API_ADDRESS,
      KUBERNETES_SERVICE_PORT: String(API_PORT),
      // The rules are kube-proxy's, and nothing is there that tells of them.
      KTRACE_PROXY_MODE: 'iptables',
      KTRACE_SERVICE_ACCOUNT: serviceAccountOf(directory),
    },
  );
}

/** Where a node's agent records, in a lab that records. */
export function recordingDirectory(directory: string, node: string): string {
  return join(directory, node, 'recording');
}

/** Labs live in memory (/run): a recording may take little of it. */
const RECORD_BYTES = 64 * 1024 * 1024;

function recordFlags(directory: string, node: string): string[] {
  if (readState(directory)?.records !== true) return [];
  return ['--record', recordingDirectory(directory, node), '--record-bytes', String(RECORD_BYTES)];
}

/** Starts a gate in its pod's namespace, as a user without any right. */
export function startGate(lab: string, directory: string, pod: LabPod): LabProcess {
  return startProcess(
    directory,
    gateName(pod.node),
    [
      ...['ip', 'netns', 'exec', namespaceOf(lab, pod), 'setpriv', ...withoutRights(), '--'],
      ...[ktraceCommand(), 'gate', '--socket', agentSocket(directory, pod.node)],
    ],
    { ...ktraceEnvironment(), ...IMAGE_ENVIRONMENT, HOME: '/nonexistent' },
  );
}

/** Ends a node's agent; SIGKILL gives it no chance to detach. */
export async function stopAgent(directory: string, node: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  await stopProcess(directory, agentName(node), signal);
  if (signal === 'SIGTERM') rmSync(agentSocket(directory, node), { force: true });
}

/** Waits until the agents answer `/readyz` and the gates listen. @throws KtraceError `KTRACE_E_LAB_START` with the end of the log */
export async function waitForAgents(directory: string, nodes: readonly string[]): Promise<void> {
  await Promise.all(
    nodes.flatMap((node) => [
      ready(directory, agentName(node), () => isAgentReady(directory, node)),
      ready(directory, gateName(node), () => isGateListening(directory, node)),
    ]),
  );
}

/** Waits for one agent. */
export async function waitForAgent(directory: string, node: string): Promise<void> {
  await ready(directory, agentName(node), () => isAgentReady(directory, node));
}

/** Whether an agent says it is ready. */
export function isAgentReady(directory: string, node: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ socketPath: agentSocket(directory, node), path: '/readyz', timeout: 1000 });
    asked.on('timeout', () => asked.destroy(new Error('timeout')));
    asked.on('error', () => resolve(false));
    asked.on('response', (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.end();
  });
}

export function agentName(node: string): string {
  return `agent-${node}`;
}

export function gateName(node: string): string {
  return `gate-${node}`;
}

async function ready(directory: string, name: string, ask: () => boolean | Promise<boolean>): Promise<void> {
  const isReady = await waitFor(
    async () => {
      const record = recordedProcess(directory, name);
      if (record === undefined || !isRunning(record)) return 'ended';
      return (await ask()) ? 'ready' : undefined;
    },
    READY_TIMEOUT_MS,
    50,
  );
  if (isReady === 'ready') return;
  const what = isReady === 'ended' ? 'ended at once' : `is not ready after ${READY_TIMEOUT_MS / 1000} s`;
  throw new KtraceError('KTRACE_E_LAB_START', `${name} ${what}. Its last lines:\n${logTail(directory, name)}`);
}

/** A process's /proc/PID/net/tcp shows the sockets of its namespace: no need to connect to know that it listens. */
function isGateListening(directory: string, node: string): boolean {
  const pid = recordedProcess(directory, gateName(node))?.pid;
  const port = `:${GATE_PORT.toString(16).toUpperCase().padStart(4, '0')} `;
  return ['tcp', 'tcp6'].some((file) => {
    try {
      const sockets = readFileSync(`/proc/${pid}/net/${file}`, 'utf8').split('\n');
      return sockets.some((line) => line.includes(port) && / 0A /.test(line));
    } catch {
      return false;
    }
  });
}

/**
 * `nobody`, where `nobody` may read the program. In a home directory that is closed to others it stays the owner, but
 * without a single capability, which is as powerless towards the kernel.
 */
function withoutRights(): string[] {
  const none = ['--inh-caps=-all', '--bounding-set=-all', '--no-new-privs', '--clear-groups'];
  return isOpenToAll(projectRoot()) && isOpenToAll(process.execPath) ? ['--reuid=65534', '--regid=65534', ...none] : none;
}

function isOpenToAll(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { hostname, networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { type Api, listAll } from './api.ts';

/** An agent on this machine that lives as long as the follow it was started for. */
export interface LocalAgent {
  node: string;
  /** A connection to its socket, which nobody else can open. */
  dial(): Promise<Duplex>;
  /** Rejects when it ends by itself. */
  ended: Promise<never>;
  /** Ends it; resolves when its programs are taken down. */
  close(): Promise<void>;
}

export interface LocalAgentOptions {
  api: Api;
  config: KubeConfig;
  /** The command that runs ktrace here, e.g. `[node, bin/ktrace]`. */
  command: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  signal: AbortSignal;
  /** Who runs this; undefined on systems that have no such numbers. */
  uid: number | undefined;
}

/** Loading and attaching takes well under a second; a busy machine ten times that. */
const START_MS = 30_000;
const POLL_MS = 50;
const END_MS = 10_000;
const KEPT_CHARS = 4000;

/**
 * Starts an agent of its own: private socket, names by the user's kubeconfig, no authorization, because who is root here sees everything anyway.
 * It ends with its standard input, so that nothing is left when this process is killed. Throws KTRACE_E_LOCAL_ROOT, KTRACE_E_LOCAL_NODE,
 * KTRACE_E_LOCAL_AGENT.
 */
export async function startLocalAgent(options: LocalAgentOptions): Promise<LocalAgent> {
  rejectWithoutRoot(options.uid);
  const node = await ownNode(options);
  // mkdtemp makes it for its owner alone.
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-local-'));
  try {
    return await startIn(folder, node, options);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

async function startIn(folder: string, node: string, { config, command, env, signal }: LocalAgentOptions): Promise<LocalAgent> {
  const socket = join(folder, 'agent.sock');
  const kubeconfig = join(folder, 'kubeconfig');
  writeFileSync(kubeconfig, config.exportConfig(), { mode: 0o600 });
  const [program = '', ...args] = command;
  const flags = [
    '--node',
    node,
    '--socket',
    socket,
    '--kubeconfig',
    kubeconfig,
    '--authorization',
    'off',
    '--log-level',
    'warn',
    '--with-parent',
  ];
  const { KTRACE_OTLP_ENDPOINT: _, KTRACE_RECORD: ___, ...inherited } = env;
  // A group of its own: the terminal's Ctrl-C is for the client, which then ends the agent.
  const child = spawn(program, [...args, 'agent', ...flags], { stdio: ['pipe', 'pipe', 'pipe'], env: inherited, detached: true });
  const said = recordOf(child);
  const ended = new Promise<never>((__, reject) => {
    child.once('error', (error) => reject(failed(node, messageOf(error))));
    child.once('exit', (code, by) => reject(failed(node, said() || `it ended with ${by ?? code}`)));
  });
  ended.catch(() => undefined);
  const close = async (): Promise<void> => {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.stdin?.end();
    if (child.exitCode === null && child.signalCode === null)
      await Promise.race([gone, delay(END_MS, undefined, { ref: false })]);
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await Promise.race([ended, answering(socket, signal)]);
  } catch (error) {
    await close();
    throw error;
  }
  // It has read that: nobody's credentials lie about should this process be killed.
  rmSync(kubeconfig);
  return { node, dial: () => open(socket), ended, close };
}

function rejectWithoutRoot(uid: number | undefined): void {
  if (uid === 0) return;
  throw new KtraceError(
    'KTRACE_E_LOCAL_ROOT',
    `Expected root on a Linux node for --local, got ${uid === undefined ? process.platform : `user ${uid}`}`,
    {
      hint: 'Run it with sudo -E on the node, or without --local through the agents of the cluster.',
      exitCode: EXIT.usage,
    },
  );
}

interface Node {
  metadata?: { name?: string };
  status?: { addresses?: { address?: string }[] };
}

/** The cluster's name for this machine: KTRACE_NODE, else its hostname, else whose addresses it has. */
async function ownNode({ api, env, signal }: LocalAgentOptions): Promise<string> {
  const nodes = await listAll<Node>(api, '/api/v1/nodes', {}, signal);
  const names = nodes.flatMap(({ metadata }) => metadata?.name ?? []);
  const wanted = env['KTRACE_NODE'] || undefined;
  if (wanted !== undefined && names.includes(wanted)) return wanted;
  if (wanted === undefined && names.includes(hostname())) return hostname();
  const own = new Set(Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)));
  const [match] =
    wanted === undefined ? nodes.filter(({ status }) => status?.addresses?.some(({ address }) => own.has(address ?? ''))) : [];
  if (match?.metadata?.name !== undefined) return match.metadata.name;
  throw new KtraceError(
    'KTRACE_E_LOCAL_NODE',
    `Expected this machine to be a node of the cluster, got ${JSON.stringify(wanted ?? hostname())}`,
    {
      hint: `KTRACE_NODE says which it is: ${names.slice(0, 5).join(', ')}${names.length > 5 ? ', …' : ''}.`,
      exitCode: EXIT.usage,
    },
  );
}

async function answering(socket: string, signal: AbortSignal): Promise<void> {
  for (const endMs = performance.now() + START_MS; performance.now() < endMs && !signal.aborted; await delay(POLL_MS)) {
    try {
      (await open(socket)).destroy();
      return;
    } catch {
      // Not there yet.
    }
  }
  throw failed('', signal.aborted ? 'interrupted' : `it does not answer within ${START_MS / 1000} s`);
}

function open(socket: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const connection = connect({ path: socket });
    connection.once('error', reject);
    connection.once('connect', () => {
      connection.removeListener('error', reject);
      connection.on('error', () => undefined);
      resolve(connection);
    });
  });
}

/** The last of what it said: errors on stderr, else its log. */
function recordOf(child: ChildProcess): () => string {
  const kept = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      kept[name] = (kept[name] + text).slice(-KEPT_CHARS);
    });
  }
  return () => (kept.stderr || kept.stdout).trim().replace(/^ktrace: /, '');
}

function failed(node: string, said: string): KtraceError {
  return new KtraceError(
    'KTRACE_E_LOCAL_AGENT',
    `The agent${node === '' ? '' : ` of ${node}`} that was started here ended or cannot be reached: ${said}`,
  );
}

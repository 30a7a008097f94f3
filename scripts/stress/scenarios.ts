import { setTimeout as delay } from 'node:timers/promises';
import { agentSocket } from '../../src/lab/agents.ts';
import { apiMetrics } from '../../src/lab/client/api-client.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { siblingProgram } from '../../src/lab/machine/program.ts';
import { GATE_PORT } from '../../src/protocol/constants.ts';
import { unixGet } from '../../test/agent/serve/unix-get.ts';
import { synFlood } from '../../test/lab/support/flood.ts';
import { Follower } from './follower.ts';
import { metricSum } from './metric-sum.ts';
import { startProgram } from './program.ts';
import { unreadable } from './unreadable.ts';

/** What was thrown, and what is wrong beside what is judged of every scenario. */
export interface Thrown {
  counts: Record<string, number>;
  problems: string[];
}

export interface Scenario {
  name: string;
  /** Whose agent it is about. */
  node: string;
  /** Goes on until the signal. */
  run(lab: Lab, over: AbortSignal): Promise<Thrown>;
}

/** kube-proxy changes no more often than this, unless told otherwise (`minSyncPeriod`). */
const BURST_PAUSE_MS = 1000;
/** Where the follower's pod is that must not notice. */
const NODE = 'host2';
const DUMMY = 'kube-ipvs0';
const ADDRESSES = 4000;
const FLOODED = { namespace: 'kube-system', name: 'coredns-5d78c9869d-7xk2p' };
const FLOODER = 'frontend-88237173-jdfgg';
/** Nobody listens there. */
const PORT = 9;
const NO_END = 1_000_000_000;
const START_MS = 30_000;

export const SCENARIOS: readonly Scenario[] = [
  { name: 'addresses', node: NODE, run: addresses },
  { name: 'sockets', node: NODE, run: sockets },
  { name: 'tokens', node: NODE, run: tokens },
  { name: 'flood', node: NODE, run: (lab, over) => flood(lab, over, []) },
  { name: 'flood-packets', node: NODE, run: (lab, over) => flood(lab, over, ['--packets']) },
  { name: 'unreadable', node: 'host1', run: unreadable },
];

/** A node's interface gets 4,000 addresses and loses them, as kube-proxy's does with as many Services in IPVS mode. */
async function addresses(lab: Lab, over: AbortSignal): Promise<Thrown> {
  const counts = { 'addresses added': 0, 'addresses removed': 0 };
  const batch = (what: 'add' | 'del') =>
    Array.from({ length: ADDRESSES }, (_, at) => `addr ${what} 10.97.${at >> 8}.${at & 255}/32 dev ${DUMMY}\n`).join('');
  const make = (kind: string) => lab.exec(NODE, ['ip', 'link', 'add', DUMMY, 'type', kind]);
  // Not every kernel has the module; a bridge without ports leads nowhere either.
  await make('dummy').catch(() => make('bridge'));
  try {
    while (!over.aborted) {
      await lab.exec(NODE, ['ip', '-batch', '-'], batch('add'));
      counts['addresses added'] += ADDRESSES;
      await lab.exec(NODE, ['ip', '-batch', '-'], batch('del'));
      counts['addresses removed'] += ADDRESSES;
      await delay(BURST_PAUSE_MS, undefined, { signal: over }).catch(() => undefined);
    }
  } finally {
    await lab.exec(NODE, ['ip', 'link', 'del', DUMMY]);
  }
  return { counts, problems: [] };
}

function sockets(lab: Lab, over: AbortSignal): Promise<Thrown> {
  return runWorker(lab, './sockets-worker.ts', over);
}

async function tokens(lab: Lab, over: AbortSignal): Promise<Thrown> {
  const before = await reviews(lab);
  const thrown = await runWorker(lab, './tokens-worker.ts', over);
  const after = await reviews(lab);
  for (const [what, count] of Object.entries(after)) thrown.counts[what] = count - (before[what] ?? 0);
  return thrown;
}

/** From the pod of the node's gate: through the gate, and at the agent's socket. */
async function runWorker(lab: Lab, worker: string, over: AbortSignal): Promise<Thrown> {
  const gate = lab.pods.find(({ workload, node }) => workload === 'gate' && node === NODE)?.name ?? '';
  const doors = JSON.stringify({ socketPath: agentSocket(lab.directory, NODE), port: GATE_PORT });
  const program = startProgram(lab, `pod/${gate}`, [...siblingProgram(import.meta.url, worker), doors], 'SIGTERM');
  await aborted(over);
  const counts = JSON.parse(await program.end()) as Record<string, number>;
  return { counts, problems: [] };
}

/** What the API server was asked, by its own count, and what the node's agent says of it. */
async function reviews(lab: Lab): Promise<Record<string, number>> {
  const api = await apiMetrics(lab.directory);
  const agent = await unixGet(agentSocket(lab.directory, NODE), '/metrics');
  const sum = (review: string) => metricSum(agent, 'ktrace_authorization_reviews_total', `review="${review}"`);
  return {
    'TokenReviews that reached the API server': metricSum(api, 'apiserver_request_total', 'resource="tokenreviews"'),
    'TokenReviews by the agent': sum('token'),
    'not asked: not for us': sum('none_not_for_us'),
    'not asked: too often': sum('none_too_often'),
  };
}

/** A pod that is followed gets pings as fast as it answers, and SYNs from addresses that nobody has. */
async function flood(lab: Lab, over: AbortSignal, flags: readonly string[]): Promise<Thrown> {
  const { ip } = lab.pod(FLOODED.name);
  const counts: Record<string, number> = { 'told of them': 0 };
  const follower = new Follower(lab, [`pod/${FLOODED.name}`, '-n', FLOODED.namespace, ...flags], (event) => {
    add(counts, 'told of them', 1);
    if (event.kind === 'lost') add(counts, `lost of them (${event.stage})`, event.count);
  });
  const problems: string[] = [];
  try {
    if (!(await follower.following(over, START_MS))) problems.push(`who follows the flooded pod does not: ${follower.said}`);
    const ping = startProgram(lab, FLOODER, ['ping', '-n', '-q', '-f', ip], 'SIGINT');
    const syns = startProgram(lab, FLOODER, synFlood(NO_END, ip, PORT), 'SIGTERM');
    await aborted(over);
    const [pings, sent] = await Promise.all([ping.end(), syns.end()]);
    if (!follower.isAlive) problems.push(`who follows the flooded pod has ended: ${follower.said}`);
    const pinged = Number(/^(\d+) packets transmitted/m.exec(pings)?.[1] ?? 0);
    return { counts: { pings: pinged, SYNs: Number(sent), ...counts }, problems };
  } finally {
    await follower.close();
  }
}

function add(counts: Record<string, number>, what: string, more: number): void {
  counts[what] = (counts[what] ?? 0) + more;
}

async function aborted(signal: AbortSignal): Promise<void> {
  await delay(NO_END, undefined, { signal }).catch(() => undefined);
}

import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSeconds } from '../processes.ts';
import { bytesRead, MeasuredAgent, memory, parseMetrics, type Start } from './agent.ts';
import { type AdminApi, adminApi } from './api.ts';
import { Churn, type ChurnRate } from './churn.ts';
import { PaperCluster, type Size } from './cluster.ts';

/** What an agent costs, and asks, in one span of time. */
export interface Span {
  what: string;
  seconds: number;
  residentBytes: number;
  /** Of it, what no other process shares. */
  ownBytes: number;
  /** Of one core, 0 to 1. */
  cpu: number;
  bytesReadPerS: number;
  /** Requests of the agent, from its own counts. */
  requestsPerMinute: number;
  /** Watch events that reached the agent, by kind, a second. */
  eventsPerS: Record<string, number>;
  /** What was changed on the server, a second. */
  changed?: ChurnRate;
  /** Watches that stand on the server beyond those of the time without an agent, by resource. */
  watches: Record<string, number>;
}

export interface ScaleResult {
  size: Size;
  ownPods: number;
  start: Start;
  /** Requests that the server counted until the agent was ready, by verb and resource. */
  startRequests: Record<string, number>;
  spans: Span[];
}

export interface ScaleOptions {
  sizes: readonly Size[];
  /** Pods of the agent's own node. */
  ownPods: number;
  /** Pod changes a second while there is churn. */
  changesPerS: number;
  /** How long each span is looked at. */
  seconds: number;
  /** What was written stays for the next run. */
  isKept: boolean;
  isFilledOnly: boolean;
  signal: AbortSignal;
}

/** How long an agent is left alone before it is looked at: it gives back what its start took (src/util/heap-at-rest.ts). */
const SETTLE_S = 60;
const RESOURCES = ['pods', 'services', 'endpointslices', 'nodes', 'tokenreviews', 'subjectaccessreviews'];

/**
 * Fills the API server that `KUBECONFIG` names with objects that nothing stands behind, in growing sizes; at each runs a real agent
 * and looks at what it takes. Everything is taken away in the end. What was measured before a failure has been given to `measured`.
 */
export async function measureScaleApi(
  options: ScaleOptions,
  progress: (text: string) => void,
  measured: (result: ScaleResult) => void,
): Promise<void> {
  const api = await adminApi(process.env);
  const cluster = new PaperCluster(api, options.ownPods, progress);
  const agent = new MeasuredAgent(api);
  try {
    await cluster.begin();
    if (!options.isFilledOnly) await agent.begin();
    for (const size of options.sizes) {
      options.signal.throwIfAborted();
      await cluster.grow(size);
      if (!options.isFilledOnly) measured(await measureSize(api, cluster, agent, options, progress));
    }
  } finally {
    await agent.clear();
    if (!options.isKept && !options.isFilledOnly) await cluster.clear();
    api.close();
  }
}

async function measureSize(
  api: AdminApi,
  cluster: PaperCluster,
  agent: MeasuredAgent,
  { ownPods, changesPerS, seconds, signal }: ScaleOptions,
  progress: (text: string) => void,
): Promise<ScaleResult> {
  const before = await serverCounts(api);
  progress('starting an agent');
  const start = await agent.start();
  const startRequests = difference((await serverCounts(api)).requests, before.requests);
  await sleep(SETTLE_S * 1000, undefined, { signal });
  const span = async (what: string, work: (span: AbortSignal) => Promise<ChurnRate | undefined>) => {
    progress(`${what}, ${seconds} s`);
    return measureSpan(what, api, agent, before.watches, seconds, signal, work);
  };
  const spans = [await span('idle', async () => undefined)];
  const churn = (): Promise<ChurnRate> => new Churn(cluster, changesPerS).run(seconds, signal);
  spans.push(await span(`${changesPerS} pod changes/s`, churn));
  const unfollow = await agent.follow();
  spans.push(await span('followed', async () => undefined));
  spans.push(await span(`followed, ${changesPerS} pod changes/s`, churn));
  await unfollow();
  await agent.stop();
  return { size: cluster.size, ownPods, start, startRequests, spans };
}

async function measureSpan(
  what: string,
  api: AdminApi,
  agent: MeasuredAgent,
  watchesBefore: Record<string, number>,
  leastSeconds: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<ChurnRate | undefined>,
): Promise<Span> {
  const startMs = performance.now();
  const [cpu, bytes, counts] = [cpuSeconds([agent.pid]), bytesRead(agent.pid), await agent.metrics()];
  const [changed] = await Promise.all([work(signal), sleep(leastSeconds * 1000, undefined, { signal })]);
  const seconds = (performance.now() - startMs) / 1000;
  const [cpuUsed, bytesMore] = [cpuSeconds([agent.pid]) - cpu, bytesRead(agent.pid) - bytes];
  const countsAfter = await agent.metrics();
  const more = (prefix: string) =>
    [...countsAfter]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [name, value - (counts.get(name) ?? 0)] as const);
  const events = more('ktrace_api_events_total').map(([name, value]) => [kindOf(name), value / seconds]);
  const requests = more('ktrace_api_requests_total').reduce((sum, [, value]) => sum + value, 0);
  return {
    what,
    seconds,
    ...memory(agent.pid),
    cpu: cpuUsed / seconds,
    bytesReadPerS: bytesMore / seconds,
    requestsPerMinute: (requests / seconds) * 60,
    eventsPerS: Object.fromEntries(events),
    ...(changed && { changed }),
    watches: difference((await serverCounts(api)).watches, watchesBefore),
  };
}

/** What the server has counted: finished requests by verb and resource, and watches that stand. */
async function serverCounts(api: AdminApi): Promise<{ requests: Record<string, number>; watches: Record<string, number> }> {
  const requests: Record<string, number> = {};
  const watches: Record<string, number> = {};
  for (const [name, value] of parseMetrics(await api.text('/metrics'))) {
    const label = (key: string) => new RegExp(`[{,]${key}="([^"]*)"`).exec(name)?.[1] ?? '';
    const resource = label('resource');
    if (!RESOURCES.includes(resource)) continue;
    if (name.startsWith('apiserver_request_total{')) add(requests, `${label('verb')} ${resource}`, value);
    if (name.startsWith('apiserver_longrunning_requests{') && label('verb') === 'WATCH') add(watches, resource, value);
  }
  return { requests, watches };
}

function add(sums: Record<string, number>, key: string, value: number): void {
  sums[key] = (sums[key] ?? 0) + value;
}

/** What has grown. */
function difference(after: Record<string, number>, before: Record<string, number>): Record<string, number> {
  const grown = Object.entries(after).map(([key, value]) => [key, value - (before[key] ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, value]) => value > 0));
}

function kindOf(name: string): string {
  return /kind="([^"]*)"/.exec(name)?.[1] ?? '';
}

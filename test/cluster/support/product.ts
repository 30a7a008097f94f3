import { join } from 'node:path';
import { until } from '../../support/until.ts';
import { beside, getJson, kubectl, TOOLS_IMAGE } from './cluster.ts';

/** Where the pods of each are. */
export const NAMESPACES = { agent: 'ktrace-agents', gate: 'ktrace' } as const;
export const METRICS_PORT = 7472;
const MANIFESTS_IMAGE = 'localhost/ktrace:0.1.0';
/** What is tried here. */
export const IMAGE = process.env['KTRACE_IMAGE'] || MANIFESTS_IMAGE;
const DEPLOY = join(import.meta.dirname, '..', '..', '..', 'deploy');

interface RawPod {
  metadata: { name: string; deletionTimestamp?: string };
  spec: { nodeName: string };
  status: { podIP?: string; phase: string; conditions?: { type: string; status: string }[] };
}

interface RawDaemonSet {
  metadata: { generation: number };
  spec: { template: { spec: { containers: { env?: { name: string }[] }[] } } };
  status: { observedGeneration?: number };
}

/** A pod of ktrace's that is there to stay: ready, and not going. */
export interface ReadyPod {
  name: string;
  node: string;
  ip: string;
}

/**
 * Until all agents and gates are those of their DaemonSets' present templates, and ready. An earlier test file may have rolled or remade
 * them: whoever needs them waits for that alone, and never takes the first pod of a list.
 */
export async function productIsReady(): Promise<void> {
  for (const component of ['agent', 'gate'] as const)
    await kubectl('-n', NAMESPACES[component], 'rollout', 'status', `daemonset/ktrace-${component}`, '--timeout=110s');
  const nodes = await getJson<{ items: object[] }>('nodes');
  for (const component of ['agent', 'gate'] as const) {
    await until(`a ready ${component} on each of ${nodes.items.length} nodes, and no other`, async () => {
      const { all, ready } = await podsOf(component);
      return all === nodes.items.length && ready.length === nodes.items.length;
    });
  }
}

/** Puts a folder of `deploy/` in place, with the image that is tried here. */
export async function deploy(folder: string): Promise<void> {
  const { stdout } = await beside(['kubectl', 'kustomize', join(DEPLOY, folder)]);
  await renewAgents(() => beside(['kubectl', 'apply', '-f', '-'], stdout.replaceAll(MANIFESTS_IMAGE, IMAGE)));
}

/** Until agents record: they do already, or are put in place anew. They go on with it: nothing else is seen of that. */
export async function agentsRecord(): Promise<void> {
  const { spec } = await getJson<RawDaemonSet>('daemonset', 'ktrace-agent', '-n', NAMESPACES.agent);
  const records = spec.template.spec.containers.some(({ env }) => env?.some(({ name }) => name === 'KTRACE_RECORD'));
  if (!records) await deploy('overlays/recording');
  await productIsReady();
}

/** Changes the agents' DaemonSet, and has all pods of before replaced at once, where a rollout takes node after node. */
export async function renewAgents(change: () => Promise<unknown>): Promise<void> {
  // One that the rollout has just made stays: it is of the new template already.
  const before = await kubectl('-n', NAMESPACES.agent, 'get', 'pods', '-l', 'app.kubernetes.io/component=agent', '-o', 'name');
  await change();
  await until('the DaemonSet’s new template is seen', async () => {
    const { metadata, status } = await getJson<RawDaemonSet>('daemonset', 'ktrace-agent', '-n', NAMESPACES.agent);
    return status.observedGeneration === metadata.generation;
  });
  const pods = before.split('\n').filter((name) => name !== '');
  if (pods.length > 0) await kubectl('-n', NAMESPACES.agent, 'delete', '--ignore-not-found', '--wait=false', ...pods);
  await kubectl('-n', NAMESPACES.agent, 'rollout', 'status', 'daemonset/ktrace-agent', '--timeout=110s');
}

/** The ready pods of agents or gates, by the names of their nodes. */
export async function readyPods(component: 'agent' | 'gate'): Promise<ReadyPod[]> {
  return (await podsOf(component)).ready.toSorted((a, b) => a.node.localeCompare(b.node));
}

async function podsOf(component: 'agent' | 'gate'): Promise<{ all: number; ready: ReadyPod[] }> {
  const selector = `app.kubernetes.io/component=${component}`;
  const { items } = await getJson<{ items: RawPod[] }>('pods', '-n', NAMESPACES[component], '-l', selector);
  const ready = items
    .filter(
      ({ metadata, status }) =>
        metadata.deletionTimestamp === undefined &&
        status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    )
    .map(({ metadata, spec, status }) => ({ name: metadata.name, node: spec.nodeName, ip: status.podIP ?? '' }));
  return { all: items.length, ready };
}

/**
 * A gate's page of metrics as Prometheus gets it: over the pod network, from a pod of its own in `default`. Asked again until the agent
 * behind the gate has answered; a failure has curl's own words.
 */
export async function scrape(gate: ReadyPod): Promise<string> {
  const name = 'ktrace-test-scrape';
  await kubectl('delete', 'pod', name, '--ignore-not-found', '--wait=true');
  const url = `http://${gate.ip}:${METRICS_PORT}/metrics`;
  // It tells the page and its own troubles once it has the page of both, or after 30 tries.
  const ask = [
    `for i in $(seq 30); do page=$(curl -sSf -m 20 ${url} 2>&1)`,
    `case "$page" in *'ktrace_gate_agent_up 1'*) echo "$page"; exit 0;; esac; sleep 1; done`,
    'echo "$page"; exit 1',
  ].join('; ');
  await kubectl('label', 'namespace', 'default', 'ktrace.dev/metrics=true', '--overwrite');
  await beside([
    ...['kubectl', 'run', name, `--image=${TOOLS_IMAGE}`, '--image-pull-policy=IfNotPresent', '--restart=Never'],
    ...['--command', '--', 'sh', '-c', ask],
  ]);
  try {
    const phase = await until('the end of the scrape', async () => {
      const now = (await getJson<{ status: { phase: string } }>('pod', name)).status.phase;
      return ['Succeeded', 'Failed'].includes(now) && now;
    });
    const page = await kubectl('logs', name);
    if (phase !== 'Succeeded' || page === '')
      throw new Error(`The scrape of ${url} on ${gate.node} ended as ${phase}, and said: ${page.slice(-2000) || 'nothing'}`);
    return page;
  } finally {
    await kubectl('delete', 'pod', name, '--ignore-not-found', '--wait=false');
    await kubectl('label', 'namespace', 'default', 'ktrace.dev/metrics-');
  }
}

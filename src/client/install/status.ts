import { agentNamespace } from '../../protocol/constants.ts';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { type Api, ApiError, listAll } from '../cluster/api.ts';
import type { KubeOptions } from '../cluster/kubeconfig.ts';
import { type Node, nodesIfAllowed } from '../cluster/nodes.ts';
import { escapeText, safeJson } from '../render/style/escape.ts';
import { type InstallIo, type InstallOptions, openApi } from './install.ts';
import { isReady, type Pod, podProblem, recordsIn, restartsOf } from './pod-problem.ts';
import { refusalsOf } from './refusals.ts';

export type StatusOptions = Pick<InstallOptions, 'ktraceNamespace' | keyof KubeOptions> & {
  output: 'text' | 'json';
};

/** One of a node's two pods; of agents that may not be listed nothing is known. */
interface Part {
  pod: string;
  isReady: boolean;
  image: string;
  /** Of an agent: whether it is set to record for `ktrace dump`. */
  isRecording?: boolean;
  restarts: number;
  /** How its container ended the last time. */
  lastEnd?: string;
  /** Why it is not ready. */
  problem?: string;
}

interface NodeStatus {
  node: string;
  /** False where agents may not be listed. */
  areAgentsKnown: boolean;
  /** Undefined where the nodes may not be listed. */
  kernel?: string;
  agent?: Part;
  gate?: Part;
}

const COMPONENT = 'app.kubernetes.io/component';

/** `ktrace status`: agent and gate of every node, and why one is not ready. Exit code 0 when all are, 1 when not, 3 when nothing is installed. */
export async function runStatus(options: StatusOptions, io: InstallIo): Promise<number> {
  const api = openApi(options, io);
  const gates = await podsIn(api, options.ktraceNamespace, io.interrupt);
  const agents = await agentsOf(api, agentNamespace(options.ktraceNamespace), io);
  const pods = [...gates, ...(agents ?? [])];
  const nodes = statusOf(pods, await nodesIfAllowed(api, io), agents !== undefined);
  const refusals = nodes.some(lacksPod) ? await refusalsIn(api, options.ktraceNamespace, io.interrupt) : [];
  if (pods.length === 0 && refusals.length === 0) {
    throw new KtraceError('KTRACE_E_NO_AGENT', `There is no agent of ktrace in namespace ${options.ktraceNamespace}`, {
      hint: 'ktrace install makes one on every node; another namespace is given with --ktrace-namespace.',
      exitCode: EXIT.noAgent,
    });
  }
  if (options.output === 'json') {
    io.stdout.write(`${nodes.map((node) => safeJson(node)).join('\n')}\n`);
    for (const refusal of refusals) io.stderr.write(`ktrace: ${escapeText(refusal)}\n`);
  } else printTable(nodes, refusals, io);
  return nodes.every(isWell) ? EXIT.ok : EXIT.failure;
}

function lacksPod({ agent, gate, areAgentsKnown }: NodeStatus): boolean {
  return gate === undefined || (areAgentsKnown && agent === undefined);
}

async function refusalsIn(api: Api, namespace: string, signal: AbortSignal): Promise<string[]> {
  return (await Promise.all([agentNamespace(namespace), namespace].map((name) => refusalsOf(api, name, signal)))).flat();
}

function podsIn(api: Api, namespace: string, signal: AbortSignal): Promise<Pod[]> {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;
  return listAll<Pod>(api, path, { labelSelector: 'app.kubernetes.io/name=ktrace' }, signal);
}

/** Who was granted packets may list the gates alone, whose readiness is the agents' as well. */
async function agentsOf(api: Api, namespace: string, { interrupt, stderr }: InstallIo): Promise<Pod[] | undefined> {
  try {
    return await podsIn(api, namespace, interrupt);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    stderr.write(
      `ktrace: you may not list the pods of namespace ${escapeText(namespace)}: agents are told by their gates alone\n`,
    );
    return undefined;
  }
}

function statusOf(pods: readonly Pod[], nodes: readonly Node[], areAgentsKnown: boolean): NodeStatus[] {
  const rows = new Map<string, NodeStatus>();
  for (const { metadata, status } of nodes) {
    const kernel = status?.nodeInfo?.kernelVersion;
    rows.set(metadata.name, { node: metadata.name, areAgentsKnown, ...(kernel === undefined ? {} : { kernel }) });
  }
  for (const pod of pods) {
    const node = pod.spec?.nodeName;
    const component = pod.metadata.labels?.[COMPONENT];
    if (node === undefined || (component !== 'agent' && component !== 'gate')) continue;
    const row = rows.get(node) ?? { node, areAgentsKnown };
    // While pods are replaced a node has two: the one that stays is shown.
    if (row[component] === undefined || pod.metadata.deletionTimestamp === undefined) row[component] = partOf(pod);
    rows.set(node, row);
  }
  return [...rows.values()].sort((a, b) => a.node.localeCompare(b.node));
}

function partOf(pod: Pod): Part {
  const problem = podProblem(pod);
  const { count, last } = restartsOf(pod);
  return {
    pod: pod.metadata.name,
    isReady: isReady(pod.status) && pod.metadata.deletionTimestamp === undefined,
    image: pod.spec?.containers?.[0]?.image ?? '',
    ...(pod.metadata.labels?.[COMPONENT] === 'agent' ? { isRecording: recordsIn(pod.spec) } : {}),
    restarts: count,
    ...(last === undefined ? {} : { lastEnd: last }),
    ...(problem === undefined ? {} : { problem }),
  };
}

function isWell({ agent, gate, areAgentsKnown }: NodeStatus): boolean {
  return gate?.isReady === true && (!areAgentsKnown || agent?.isReady === true);
}

function printTable(nodes: readonly NodeStatus[], refusals: readonly string[], { stdout }: InstallIo): void {
  const rows = nodes.map(({ node, kernel, agent, gate, areAgentsKnown }) => [
    node,
    areAgentsKnown ? stateText(agent) : 'unknown',
    stateText(gate),
    agent?.isRecording === undefined ? '' : agent.isRecording ? 'yes' : 'no',
    restartsText(agent, gate),
    imageText(agent ?? gate),
    kernel ?? '',
  ]);
  const table = [['NODE', 'AGENT', 'GATE', 'RECORDS', 'RESTARTS', 'IMAGE', 'KERNEL'], ...rows].map((row) => row.map(escapeText));
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  for (const row of table)
    stdout.write(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    );
  for (const { node, agent, gate, areAgentsKnown } of nodes) {
    for (const [name, part] of [
      ['agent', agent],
      ['gate', gate],
    ] as const) {
      if (part === undefined && name === 'agent' && !areAgentsKnown) continue;
      const problem = part === undefined ? 'there is no pod' : part.problem;
      if (problem !== undefined) stdout.write(`${escapeText(`${node}: ${name}: ${problem}`)}\n`);
      else if (part?.lastEnd !== undefined)
        stdout.write(`${escapeText(`${node}: ${name} was started again: it ended ${part.lastEnd}`)}\n`);
    }
  }
  for (const refusal of refusals) stdout.write(`${escapeText(refusal)}\n`);
  const well = nodes.filter(isWell).length;
  stdout.write(`${well} of ${nodes.length} nodes ready\n`);
}

function stateText(part: Part | undefined): string {
  if (part === undefined) return 'missing';
  return part.isReady ? 'ready' : 'not ready';
}

function restartsText(agent: Part | undefined, gate: Part | undefined): string {
  return String((agent?.restarts ?? 0) + (gate?.restarts ?? 0));
}

function imageText(part: Part | undefined): string {
  return part?.image ?? '';
}

import { type Api, listAll } from '../cluster/api.ts';
import { objectPath } from '../cluster/kube-object.ts';
import { type DaemonSet, lacksPods } from './daemon-set.ts';
import type { Manifest } from './manifests.ts';
import { type Pod, podProblem } from './pod-problem.ts';
import { refusalsOf } from './refusals.ts';

/** How far a DaemonSet is. */
export interface Readiness {
  name: string;
  /** Pods that are ready and of the newest template, of so many that shall be. */
  ready: number;
  wanted: number;
  isDone: boolean;
  /** Not all of its pods have been made. */
  lacksPods: boolean;
  manifest: Manifest;
}

/** How far the DaemonSets of an installation are. */
export async function readinessOf(api: Api, manifests: readonly Manifest[], signal: AbortSignal): Promise<Readiness[]> {
  const sets = manifests.filter(({ kind }) => kind === 'DaemonSet');
  return Promise.all(
    sets.map(async (manifest) => readiness(manifest, (await api.get(objectPath(manifest), signal)) as DaemonSet)),
  );
}

function readiness(manifest: Manifest, { metadata, status = {} }: DaemonSet): Readiness {
  const isSeen = status.observedGeneration !== undefined && status.observedGeneration >= (metadata.generation ?? 0);
  const wanted = status.desiredNumberScheduled ?? 0;
  const ready = isSeen ? Math.min(status.updatedNumberScheduled ?? 0, status.numberReady ?? 0) : 0;
  return {
    name: metadata.name,
    ready,
    wanted,
    isDone: isSeen && wanted > 0 && ready >= wanted && (status.numberUnavailable ?? 0) === 0,
    lacksPods: lacksPods(status),
    manifest,
  };
}

/** Something that keeps pods from being ready, and the nodes where it does. */
export interface Problem {
  text: string;
  nodes: string[];
}

/** Why pods are not ready; the same trouble on many nodes is one. */
export async function problemsOf(api: Api, namespaces: readonly string[], signal: AbortSignal): Promise<Problem[]> {
  const all = await Promise.all(namespaces.map((namespace) => problemsIn(api, namespace, signal)));
  return all.flat();
}

async function problemsIn(api: Api, namespace: string, signal: AbortSignal): Promise<Problem[]> {
  const base = `/api/v1/namespaces/${encodeURIComponent(namespace)}`;
  const pods = await listAll<Pod>(api, `${base}/pods`, { labelSelector: 'app.kubernetes.io/name=ktrace' }, signal);
  const refusals = await refusalsOf(api, namespace, signal);
  const problems = new Map<string, string[]>();
  for (const pod of pods) {
    const problem = podProblem(pod);
    if (problem === undefined) continue;
    const text = `${pod.metadata.labels?.['app.kubernetes.io/component'] ?? pod.metadata.name}: ${problem}`;
    problems.set(text, [...(problems.get(text) ?? []), pod.spec?.nodeName ?? 'no node yet']);
  }
  return [...[...problems].map(([text, nodes]) => ({ text, nodes })), ...refusals.map((text) => ({ text, nodes: [] }))];
}

/** As a line, e.g. `gate: ImagePullBackOff (on host1, host2)`. */
export function problemText({ text, nodes }: Problem): string {
  if (nodes.length === 0) return text;
  return `${text} (${nodes.length > 3 ? `on ${nodes.length} nodes, such as ${nodes[0]}` : `on ${nodes.join(', ')}`})`;
}

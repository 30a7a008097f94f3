import type { Resolved, ResolvedPod, Target } from '../../event/target.ts';
import type { FollowedPods, NoticeEvent } from '../../event/types.ts';
import { listText } from '../../util/many-text.ts';
import { followNodesText, targetText } from '../render/target-text.ts';

/** A node of a follow, as far as its connection stands. */
export interface FollowedNode {
  state: 'connecting' | 'up' | 'down' | 'refused';
  /** The agent has answered the latest question: it follows what it was asked for. */
  isSettled: boolean;
  resolved: Resolved;
}

/** A change of the set is told at once, further ones together: a roll-out of a hundred pods is not told a hundred times. */
const TELL_AGAIN_MS = 1000;
/** Pods named in one notice, at most. */
const MAX_PODS = 100;

/** Tells what is followed, and where: once every agent that answers follows it, and again when that has changed. */
export class FollowingNotice {
  readonly #nodes: () => Iterable<readonly [string, FollowedNode]>;
  readonly #tell: (notice: NoticeEvent) => void;
  readonly #targets: () => readonly Target[];
  #told = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(
    nodes: () => Iterable<readonly [string, FollowedNode]>,
    tell: (notice: NoticeEvent) => void,
    targets: () => readonly Target[],
  ) {
    this.#nodes = nodes;
    this.#tell = tell;
    this.#targets = targets;
  }

  /** Something may have changed. */
  look(): void {
    if (this.#timer !== undefined) return;
    const nodes = [...this.#nodes()];
    if (!isFollowing(nodes)) return;
    const { key, notice } = tellingOf(nodes, this.#targets());
    if (key === this.#told) return;
    this.#told = key;
    this.#tell(notice);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.look();
    }, TELL_AGAIN_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

function isFollowing(nodes: readonly (readonly [string, FollowedNode])[]): boolean {
  const isUp = nodes.some(([, { state }]) => state === 'up');
  return isUp && nodes.every(([, { state, isSettled }]) => state !== 'connecting' && (state !== 'up' || isSettled));
}

function tellingOf(
  nodes: readonly (readonly [string, FollowedNode])[],
  targets: readonly Target[],
): { key: string; notice: NoticeEvent } {
  const pods = nodes.flatMap(([, { resolved }]) => resolved.pods);
  const addresses = [...new Set(nodes.flatMap(([, { resolved }]) => resolved.addresses))].sort();
  const names = (isUp: boolean): string[] => nodes.flatMap(([name, { state }]) => ((state === 'up') === isUp ? name : [])).sort();
  const answers = nodes.flatMap(([, { state, resolved }]) => (state === 'up' ? [new Set(resolved.unresolved)] : []));
  const unresolved = targets.filter((_, place) => answers.every((places) => places.has(place)));
  const following: FollowedPods = {
    podCount: pods.length,
    addressCount: addresses.length,
    pods: pods.slice(0, MAX_PODS).map(({ namespace, name, uid }) => ({ namespace, name, uid })),
    nodes: names(true),
    missing: names(false),
    ...(unresolved.length === 0 ? {} : { unresolved }),
  };
  // When no target has anything, the text says so already.
  const text = followingText(following, pods, unresolved.length === targets.length ? [] : unresolved);
  const key = JSON.stringify([following.nodes, following.missing, addresses, pods.map(podKey).sort(), unresolved]);
  return { key, notice: { v: 1, kind: 'notice', level: 'info', code: 'KTRACE_N_FOLLOWING', text, following } };
}

function podKey({ uid, ips }: ResolvedPod): string {
  return `${uid} ${ips.join(' ')}`;
}

/** The nodes of pods that have no packets of their own, as they use the node's network. */
export function hostNetworkNodes(pods: readonly ResolvedPod[]): string[] {
  return [...new Set(pods.filter(isOnHostNetwork).map(({ node }) => node))].sort();
}

function isOnHostNetwork({ hostNetwork, ips }: ResolvedPod): boolean {
  return hostNetwork === true && ips.length === 0;
}

function followingText(
  { podCount, addressCount, nodes, missing }: FollowedPods,
  pods: readonly ResolvedPod[],
  unresolved: readonly Target[],
): string {
  const all = nodes.length + missing.length;
  const reached = missing.length === 0 ? countOf(all, 'node') : `${nodes.length} of ${countOf(all, 'node')}`;
  const withoutAddress = pods.filter(({ ips }) => ips.length === 0);
  const onHost = withoutAddress.filter(isOnHostNetwork).length;
  const without = withoutAddress.length - onHost;
  const seen = podCount - withoutAddress.length;
  const more = seen > 0 ? 'more ' : '';
  const hostText = onHost === 1 ? "pod uses its node's network" : "pods use their nodes' network";
  return [
    `following ${whatText(seen, podCount, addressCount)} on ${reached}: ${listText(nodes)}`,
    ...(onHost === 0 ? [] : [`${onHost} ${more}${hostText}: ${followNodesText(hostNetworkNodes(pods))}`]),
    ...(without === 0 ? [] : [`${without} ${more}${without === 1 ? 'pod has' : 'pods have'} no address yet`]),
    ...(unresolved.length === 0 ? [] : [`nothing there of ${listText(unresolved.map(targetText))}`]),
    ...(missing.length === 0 ? [] : [`not reached: ${listText(missing)}`]),
  ].join('; ');
}

function whatText(seen: number, pods: number, addresses: number): string {
  if (seen > 0) return countOf(seen, 'pod');
  if (addresses > 0) return countOf(addresses, 'address');
  return pods > 0 ? 'no address' : 'no pod yet';
}

function countOf(count: number, what: 'pod' | 'node' | 'address'): string {
  return `${count} ${count === 1 ? what : what === 'address' ? 'addresses' : `${what}s`}`;
}

import type { ResolvedPod, Target } from '../event/target.ts';
import type { PodRef } from '../event/types.ts';
import { isOneHost, Ranges } from './addresses.ts';
import type { Changes } from './changes.ts';
import { type NamesIndex, nodeIps } from './names-index.ts';
import type { PodRecord } from './pod-book.ts';
import { parseSelector, selects } from './selector.ts';
import type { ServiceRecord } from './service-book.ts';
import type { ServiceAddress } from './types.ts';

/** What targets stand for on one node. */
export interface ResolvedTargets {
  /** Pods of this node. One on the node's network has no `ips`: its packets are the node's. */
  pods: ResolvedPod[];
  /** Addresses to follow: those of the pods, of Services and their endpoints on any node, of nodes. */
  addresses: string[];
  /** Addresses to follow on this node alone: elsewhere they may be somebody else's. */
  ownAddresses: string[];
  /** The Services' addresses by which something followed can be reached before translation. */
  serviceAddresses: ServiceAddress[];
  /** Places of the targets that stand for nothing this node knows of. */
  unresolved: number[];
  basis: Basis;
}

/** What a resolution was made from, besides the addresses that it gave and those that were followed besides. See {@link isTouched}. */
export interface Basis {
  /** Nodes that are targets. */
  nodes: ReadonlySet<string>;
  /** This node is a target. */
  isOwnNode: boolean;
  /** Whether a pod is one of the targets'. */
  isMeant(pod: PodRef): boolean;
  /** `namespace/name` of Services that are targets. */
  services: ReadonlySet<string>;
  /** Of those that bring their addresses along, whether they are there or EndpointSlices alone. */
  servicesBehind: ReadonlySet<string>;
  /** Addresses that would be targets if they were another one's. */
  passedOver: ReadonlySet<string>;
  /** The Services' node ports are met at all nodes' addresses. */
  hasNodePorts: boolean;
}

/** What a follower may see: everything, or these namespaces. */
export type Namespaces = 'all' | ReadonlySet<string>;

/**
 * What targets stand for at this moment, as this node's index knows it.
 * @param extra addresses that are followed besides, resolved by other nodes' agents
 * @param allowed an EndpointSlice can name any pod as an endpoint: Services of other namespaces are not brought along
 * @throws KtraceError KTRACE_E_SELECTOR for a selector that cannot be parsed
 */
export function resolveTargets(
  targets: readonly Target[],
  index: NamesIndex,
  extra: readonly string[] = [],
  allowed: Namespaces = 'all',
): ResolvedTargets {
  const pods = new Set<PodRecord>();
  const addresses = new Set<string>();
  const ownAddresses = new Set<string>();
  const services = new Set<ServiceRecord>();
  const passedOver = new Set<string>();
  const found: Found = { pods, addresses, ownAddresses, services, passedOver };
  const unresolved = targets.flatMap((target, place) => (addTarget(target, index, found) ? [] : place));
  for (const pod of pods) for (const ip of pod.ips) addresses.add(ip);
  const servicesBehind = index.servicesBehind(addresses, ownAddresses, extra);
  for (const key of servicesBehind) {
    const service = index.serviceByKey(key);
    if (service && (allowed === 'all' || allowed.has(service.fact.namespace))) services.add(service);
  }
  return {
    pods: [...pods].map(resolvedPod),
    addresses: [...addresses],
    ownAddresses: [...ownAddresses],
    serviceAddresses: serviceAddresses(services, index),
    unresolved,
    basis: {
      ...basisOf(targets, index.node),
      servicesBehind,
      passedOver,
      hasNodePorts: [...services].some(({ fact }) => fact.ports.some(({ nodePort }) => nodePort !== undefined)),
    },
  };
}

/**
 * Whether targets can stand for something else after these changes. False is certain, true is not.
 * @param isFollowed whether an address was among those that were given, or those that are followed besides
 */
export function isTouched(basis: Basis, isFollowed: (ip: string) => boolean, changes: Changes): boolean {
  if (changes.isEverything) return true;
  const { nodes, isOwnNode, services, servicesBehind, passedOver, hasNodePorts } = basis;
  // An address that each host has for itself is no target and meets no node port.
  if ((isOwnNode || hasNodePorts) && some(changes.ownAddresses, isOneHost)) return true;
  if (hasNodePorts && changes.nodes.size > 0) return true;
  return (
    some(changes.nodes, (node) => nodes.has(node)) ||
    some(changes.services, (service) => services.has(service) || servicesBehind.has(service)) ||
    some(changes.endpoints, (service) => services.has(service)) ||
    some(changes.pods, (pod) => basis.isMeant(pod)) ||
    some(changes.ips, (ip) => isFollowed(ip) || passedOver.has(ip))
  );
}

function some<T>(items: Iterable<T>, test: (item: T) => boolean): boolean {
  for (const item of items) if (test(item)) return true;
  return false;
}

function basisOf(targets: readonly Target[], node: string): Pick<Basis, 'nodes' | 'isOwnNode' | 'services' | 'isMeant'> {
  const nodes = new Set(targets.flatMap((target) => (target.kind === 'node' ? target.name : [])));
  const services = targets.flatMap((target) => (target.kind === 'service' ? `${target.namespace}/${target.name}` : []));
  const tests = targets.map((target) => podTest(target, node));
  return {
    nodes,
    isOwnNode: nodes.has(node),
    services: new Set(services),
    isMeant: (pod) => tests.some((isMeant) => isMeant(pod)),
  };
}

interface Found {
  pods: Set<PodRecord>;
  addresses: Set<string>;
  ownAddresses: Set<string>;
  services: Set<ServiceRecord>;
  passedOver: Set<string>;
}

/** Adds what one target stands for; whether it stands for anything. */
function addTarget(target: Target, index: NamesIndex, found: Found): boolean {
  if (target.kind === 'service') return addService(target.namespace, target.name, index, found);
  if (target.kind === 'node') {
    const isKnown = addNode(target.name, index, found);
    if (target.name !== index.node) return isKnown;
  }
  const isMeant = podTest(target, index.node);
  let isFound = target.kind === 'node';
  for (const pod of index.ownPods()) {
    if (!isMeant(ref(pod))) continue;
    found.pods.add(pod);
    isFound = true;
  }
  return isFound;
}

/**
 * What the API server knows of a node alone is known to be the node's; of its interfaces' other addresses any node may have the same (a docker
 * bridge's, a Service's on `kube-ipvs0`, one that several nodes announce), so that they count on the node itself only.
 */
function addNode(name: string, index: NamesIndex, { addresses, ownAddresses, passedOver }: Found): boolean {
  const node = index.findNode(name);
  for (const ip of node ? nodeIps(node) : []) {
    if (index.isNodeAddress(ip) && !index.isOfOtherNode(ip, name)) addresses.add(ip);
    else if (index.isNodeAddress(ip) && name === index.node) ownAddresses.add(ip);
    else passedOver.add(ip);
  }
  if (name !== index.node) return node !== undefined;
  const pods = new Ranges(node?.podCidrs ?? []);
  for (const ip of index.localAddresses) {
    // Who follows a node does not mean all Services, which kube-ipvs0 has by the thousand.
    if (addresses.has(ip) || !isOneHost(ip)) continue;
    if (index.isServiceAddress(ip)) passedOver.add(ip);
    else (pods.has(ip) ? addresses : ownAddresses).add(ip);
  }
  return node !== undefined;
}

/**
 * What is on a node's own address (endpoints, external addresses) is met by the Service's address and port: to follow the node for it would be too
 * much. A cluster IP is the Service's alone, whatever interface has it.
 */
function addService(namespace: string, name: string, index: NamesIndex, { addresses, services, passedOver }: Found): boolean {
  const service = index.service(namespace, name);
  if (!service) return false;
  services.add(service);
  const { clusterIps, externalIps, balancerIps } = service.fact;
  const endpoints = [...index.endpoints(namespace, name)].map((one) => one.ip);
  for (const ip of clusterIps) addresses.add(ip);
  for (const ip of [...externalIps, ...balancerIps, ...endpoints]) (index.isNodeAddress(ip) ? passedOver : addresses).add(ip);
  return true;
}

const OWNER_KINDS = { deployment: 'Deployment', statefulset: 'StatefulSet', daemonset: 'DaemonSet', job: 'Job' } as const;

function podTest(target: Target, node: string): (pod: PodRef) => boolean {
  switch (target.kind) {
    case 'all':
      return () => true;
    case 'service':
      return () => false;
    case 'node':
      return () => target.name === node;
    case 'namespace':
      return (pod) => pod.namespace === target.name;
    case 'pod':
      return (pod) => pod.namespace === target.namespace && pod.name === target.name;
    case 'selector': {
      const requirements = parseSelector(target.selector);
      const { namespace } = target;
      return (pod) => (namespace === undefined || pod.namespace === namespace) && selects(requirements, pod.labels ?? {});
    }
    default: {
      const owner = `${OWNER_KINDS[target.kind]}/${target.name}`;
      return (pod) => pod.namespace === target.namespace && pod.owner === owner;
    }
  }
}

function ref(pod: PodRecord): PodRef {
  return pod.version.owner.pod;
}

function resolvedPod(pod: PodRecord): ResolvedPod {
  const { namespace, name, uid, node } = ref(pod);
  return { namespace, name, uid, node: node ?? '', ips: [...pod.ips], ...(pod.hostNetwork ? { hostNetwork: true } : {}) };
}

/** Beyond this many addresses node ports are told for this node only: of 5,000 nodes' addresses nearly all are never used. */
const MAX_NODE_PORT_ADDRESSES = 16_384;

function serviceAddresses(services: Iterable<ServiceRecord>, index: NamesIndex): ServiceAddress[] {
  const found: ServiceAddress[] = [];
  const nodePorts: { port: number; proto: ServiceAddress['proto'] }[] = [];
  for (const { fact } of services) {
    for (const { port, nodePort, proto } of fact.ports) {
      for (const ip of [...fact.clusterIps, ...fact.externalIps, ...fact.balancerIps]) found.push({ ip, port, proto });
      if (nodePort !== undefined) nodePorts.push({ port: nodePort, proto });
    }
  }
  if (nodePorts.length === 0) return found;
  for (const ip of nodePortIps(index, nodePorts.length)) for (const { port, proto } of nodePorts) found.push({ ip, port, proto });
  return found;
}

function nodePortIps(index: NamesIndex, portCount: number): Set<string> {
  const own = index.findNode(index.node);
  const ips = new Set([...(own ? nodeIps(own) : []), ...index.localAddresses.filter(isOneHost)]);
  for (const node of index.nodes()) {
    if ((ips.size + node.ips.length) * portCount > MAX_NODE_PORT_ADDRESSES) break;
    for (const ip of node.ips) ips.add(ip);
  }
  return ips;
}

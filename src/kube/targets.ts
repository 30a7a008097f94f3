import type { ResolvedPod, Target } from '../event/target.ts';
import { isOfOneHost } from '../util/address.ts';
import { Ranges } from './addresses.ts';
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
  /** Targets that stand for nothing this node knows of. */
  unresolved: Target[];
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
  const unresolved = targets.filter((target) => !addTarget(target, index, { pods, addresses, ownAddresses, services }));
  for (const pod of pods) for (const ip of pod.ips) addresses.add(ip);
  const followed = new Set([...addresses, ...ownAddresses, ...extra]);
  for (const service of index.servicesBehind(followed)) {
    if (allowed === 'all' || allowed.has(service.fact.namespace)) services.add(service);
  }
  return {
    pods: [...pods].map(resolvedPod),
    addresses: [...addresses],
    ownAddresses: [...ownAddresses],
    serviceAddresses: serviceAddresses(services, index),
    unresolved,
  };
}

interface Found {
  pods: Set<PodRecord>;
  addresses: Set<string>;
  ownAddresses: Set<string>;
  services: Set<ServiceRecord>;
}

/** Adds what one target stands for; whether it stands for anything. */
function addTarget(target: Target, index: NamesIndex, found: Found): boolean {
  const { pods, addresses, services } = found;
  if (target.kind === 'service') return addService(target.namespace, target.name, index, addresses, services);
  if (target.kind === 'node') {
    const isKnown = addNode(target.name, index, found);
    if (target.name !== index.node) return isKnown;
  }
  const isMeant = podTest(target, index.node);
  let isFound = target.kind === 'node';
  for (const pod of index.ownPods()) {
    if (!isMeant(pod)) continue;
    pods.add(pod);
    isFound = true;
  }
  return isFound;
}

/**
 * What the API server knows of a node alone is known to be the node's; of its interfaces' other addresses any node may have the same (a docker
 * bridge's, a Service's on `kube-ipvs0`, one that several nodes announce), so that they count on the node itself only.
 */
function addNode(name: string, index: NamesIndex, { addresses, ownAddresses }: Found): boolean {
  const node = index.findNode(name);
  for (const ip of node ? nodeIps(node) : []) {
    if (!index.isNodeAddress(ip)) continue;
    if (!index.isOfOtherNode(ip, name)) addresses.add(ip);
    else if (name === index.node) ownAddresses.add(ip);
  }
  if (name !== index.node) return node !== undefined;
  const pods = new Ranges(node?.podCidrs ?? []);
  for (const ip of index.localAddresses) {
    // Who follows a node does not mean all Services, which kube-ipvs0 has by the thousand.
    if (addresses.has(ip) || index.isServiceAddress(ip) || isOfOneHost(ip)) continue;
    (pods.has(ip) ? addresses : ownAddresses).add(ip);
  }
  return node !== undefined;
}

/**
 * What is on a node's own address (endpoints, external addresses) is met by the Service's address and port: to follow the node for it would be too
 * much. A cluster IP is the Service's alone, whatever interface has it.
 */
function addService(
  namespace: string,
  name: string,
  index: NamesIndex,
  addresses: Set<string>,
  services: Set<ServiceRecord>,
): boolean {
  const service = index.service(namespace, name);
  if (!service) return false;
  services.add(service);
  const { clusterIps, externalIps, balancerIps } = service.fact;
  const endpoints = [...index.endpoints(namespace, name)].map((one) => one.ip);
  for (const ip of clusterIps) addresses.add(ip);
  for (const ip of [...externalIps, ...balancerIps, ...endpoints]) if (!index.isNodeAddress(ip)) addresses.add(ip);
  return true;
}

const OWNER_KINDS = { deployment: 'Deployment', statefulset: 'StatefulSet', daemonset: 'DaemonSet', job: 'Job' } as const;

function podTest(target: Target, node: string): (pod: PodRecord) => boolean {
  switch (target.kind) {
    case 'all':
      return () => true;
    case 'service':
      return () => false;
    case 'node':
      return () => target.name === node;
    case 'namespace':
      return (pod) => ref(pod).namespace === target.name;
    case 'pod':
      return (pod) => ref(pod).namespace === target.namespace && ref(pod).name === target.name;
    case 'selector': {
      const requirements = parseSelector(target.selector);
      const { namespace } = target;
      return (pod) =>
        (namespace === undefined || ref(pod).namespace === namespace) && selects(requirements, ref(pod).labels ?? {});
    }
    default: {
      const owner = `${OWNER_KINDS[target.kind]}/${target.name}`;
      return (pod) => ref(pod).namespace === target.namespace && ref(pod).owner === owner;
    }
  }
}

function ref(pod: PodRecord): PodRecord['version']['owner']['pod'] {
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
  const ips = new Set([...(own ? nodeIps(own) : []), ...index.localAddresses]);
  for (const node of index.nodes()) {
    if ((ips.size + node.ips.length) * portCount > MAX_NODE_PORT_ADDRESSES) break;
    for (const ip of node.ips) ips.add(ip);
  }
  return ips;
}

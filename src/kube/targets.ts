import type { ResolvedPod, Target } from '../event/target.ts';
import type { PodRef } from '../event/types.ts';
import { parseSelector, selects } from '../util/label-selector.ts';
import { isHostAddress, Ranges } from './index/addresses.ts';
import type { Changes } from './index/changes.ts';
import { type NamesIndex, nodeIps } from './index/names-index.ts';
import type { PodRecord } from './index/pod-records.ts';
import type { ServiceRecord } from './index/service-book.ts';
import type { ServiceAddress } from './index/types.ts';
import { isOwnedBy } from './owned-by.ts';

/** What targets resolve to on one node. */
export interface ResolvedTargets {
  /** Pods of this node. A pod on the node's network has no `ips`: its packets are the node's. */
  pods: ResolvedPod[];
  /** Addresses to follow: of the pods, of Services and their endpoints on any node, of nodes. */
  addresses: string[];
  /** Addresses to follow on this node only: on other nodes they may belong to something else. */
  ownAddresses: string[];
  /** Addresses of Services through which a followed address can be reached, before translation. */
  serviceAddresses: ServiceAddress[];
  /** Indexes of the targets for which this node knows no object. */
  unresolved: number[];
  basis: Basis;
}

/** What a resolution depends on, apart from the addresses in its result and the `extra` ones. See {@link isTouched}. */
export interface Basis {
  /** Names of the nodes that are targets. */
  nodes: ReadonlySet<string>;
  /** Whether this node is one of them. */
  isOwnNode: boolean;
  /** Whether a target selects a pod. */
  isMeant(pod: PodRef): boolean;
  /** `namespace/name` of Services that are targets. */
  services: ReadonlySet<string>;
  /** The same of Services that have a followed address as an endpoint; those of which only EndpointSlices are known are included. */
  servicesBehind: ReadonlySet<string>;
  /** Addresses that are not in the result because of who holds them: another holder would put them there. */
  passedOver: ReadonlySet<string>;
  /** One of the Services has a node port, so that the addresses of all nodes matter. */
  hasNodePorts: boolean;
}

/** What a follower may see: everything, or these namespaces only. */
export type Namespaces = 'all' | ReadonlySet<string>;

/**
 * Resolves targets with what this node's index knows now.
 * @param extra addresses that are followed as well, resolved by other nodes' agents
 * @param allowed Services of other namespaces are left out, as an EndpointSlice can name any pod as an endpoint
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
 * Whether targets may resolve to something else after these changes. False is certain; true may turn out to be the same.
 * @param isFollowed whether an address was in the result, or among the `extra` ones
 */
export function isTouched(basis: Basis, isFollowed: (ip: string) => boolean, changes: Changes): boolean {
  if (changes.isEverything) return true;
  const { nodes, isOwnNode, services, servicesBehind, passedOver, hasNodePorts } = basis;
  // Loopback and link-local addresses are neither targets nor used for node ports.
  if ((isOwnNode || hasNodePorts) && some(changes.ownAddresses, isHostAddress)) return true;
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

/** Adds what one target resolves to; false when this node knows no object for it. */
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
 * An address that the API server lists for one node only belongs to that node. Other addresses of a node's interfaces may exist on any node (a docker
 * bridge's, a Service's on `kube-ipvs0`, one that several nodes announce), so they are followed on the node itself only.
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
    // kube-ipvs0 has the addresses of all Services: following a node does not mean those.
    if (addresses.has(ip) || !isHostAddress(ip)) continue;
    if (index.isServiceAddress(ip)) passedOver.add(ip);
    else (pods.has(ip) ? addresses : ownAddresses).add(ip);
  }
  return node !== undefined;
}

/**
 * Endpoints and external addresses that are a node's own are not followed: that would follow the whole node. Packets to them are matched by the
 * Service's address and port. A cluster IP belongs to the Service alone, whatever interface has it.
 */
function addService(namespace: string, name: string, index: NamesIndex, { addresses, services, passedOver }: Found): boolean {
  const service = index.service(namespace, name);
  if (!service) return false;
  services.add(service);
  const { clusterIps, externalIps, balancerIps } = service.fact;
  const endpoints = index.endpointIps(namespace, name);
  for (const ip of clusterIps) addresses.add(ip);
  for (const ip of [...externalIps, ...balancerIps, ...endpoints]) (index.isNodeAddress(ip) ? passedOver : addresses).add(ip);
  return true;
}

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
    default:
      return (pod) => isOwnedBy(target, pod);
  }
}

function ref(pod: PodRecord): PodRef {
  return pod.version.owner.pod;
}

function resolvedPod(pod: PodRecord): ResolvedPod {
  const { namespace, name, uid, node } = ref(pod);
  return { namespace, name, uid, node: node ?? '', ips: [...pod.ips], ...(pod.hostNetwork ? { hostNetwork: true } : {}) };
}

/** With more addresses than this, node ports are matched at this node's addresses only: of 5,000 nodes nearly all are never used. */
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
  const ips = new Set([...(own ? nodeIps(own) : []), ...index.localAddresses.filter(isHostAddress)]);
  for (const node of index.nodes()) {
    if ((ips.size + node.ips.length) * portCount > MAX_NODE_PORT_ADDRESSES) break;
    for (const ip of node.ips) ips.add(ip);
  }
  return ips;
}

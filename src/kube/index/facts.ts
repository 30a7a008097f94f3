import { type PodHealth, podHealth } from '../api/health.ts';
import { at, intern, labelsAt, listAt, portAt, textAt, textsAt, timeAt } from '../api/raw.ts';
import { addressIn, canonicalIp } from './addresses.ts';
import type { L4 } from './types.ts';

/**
 * What ktrace keeps of an API object: a tenth of it. Each function takes an object as the API server sent it and gives
 * undefined for one that cannot be used (no name, no uid). Times are Unix milliseconds.
 */

export interface PodFact {
  uid: string;
  namespace: string;
  name: string;
  node: string;
  labels: Record<string, string>;
  /** `Kind/name` of the workload; a ReplicaSet of a Deployment is told as the Deployment. */
  owner: string | undefined;
  /** Its own addresses; none for a pod on the node's network. */
  ips: readonly string[];
  hostNetwork: boolean;
  /** Since when it can have had its addresses; `exact` when its sandbox's own time is known. */
  since: { ms: number; exact: boolean } | undefined;
  /** When its last container ended, if all have. */
  endedMs: number | undefined;
  /** Succeeded or Failed: its addresses are free. */
  isFinished: boolean;
  health: PodHealth;
}

export interface ServiceFact {
  namespace: string;
  name: string;
  uid: string | undefined;
  /** `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`. */
  type: string | undefined;
  createdMs: number | undefined;
  clusterIps: readonly string[];
  externalIps: readonly string[];
  balancerIps: readonly string[];
  ports: { name: string; port: number; nodePort: number | undefined; proto: L4 }[];
  localInside: boolean;
  localOutside: boolean;
  sourceRanges: boolean;
  affinity: boolean;
}

export interface EndpointFact {
  ip: string;
  node: string | undefined;
  pod: { namespace: string; name: string; uid: string } | undefined;
  isReady: boolean;
}

export interface SliceFact {
  namespace: string;
  name: string;
  service: string;
  createdMs: number | undefined;
  ports: { name: string; port: number; proto: L4 }[];
  endpoints: EndpointFact[];
}

export interface NodeFact {
  name: string;
  /** The addresses that others know it by. */
  ips: readonly string[];
  /** Addresses of its bridge and tunnel interfaces, out of its own range. */
  networkIps: readonly string[];
  /** Addresses of its tunnel interfaces that annotations tell: what any node may write. */
  annotatedIps: readonly string[];
  podCidrs: string[];
}

export function podFact(raw: unknown): PodFact | undefined {
  const uid = textAt(raw, 'metadata', 'uid');
  const name = textAt(raw, 'metadata', 'name');
  const namespace = textAt(raw, 'metadata', 'namespace');
  if (uid === undefined || name === undefined || namespace === undefined) return undefined;
  const labels = labelsAt(raw, 'metadata', 'labels');
  const hostNetwork = at(raw, 'spec', 'hostNetwork') === true;
  const phase = textAt(raw, 'status', 'phase');
  return {
    uid,
    name,
    namespace: intern(namespace),
    node: intern(textAt(raw, 'spec', 'nodeName') ?? ''),
    labels,
    owner: ownerOf(raw, labels),
    ips: hostNetwork ? [] : podIps(raw),
    hostNetwork,
    since: sinceOf(raw),
    endedMs: endedOf(raw),
    isFinished: phase === 'Succeeded' || phase === 'Failed',
    health: podHealth(raw),
  };
}

export function serviceFact(raw: unknown): ServiceFact | undefined {
  const name = textAt(raw, 'metadata', 'name');
  const namespace = textAt(raw, 'metadata', 'namespace');
  if (name === undefined || namespace === undefined) return undefined;
  const spec = at(raw, 'spec');
  const clusterIps = textsAt(spec, 'clusterIPs');
  const type = textAt(spec, 'type');
  const balancers = listAt(raw, 'status', 'loadBalancer', 'ingress').map((one) => at(one, 'ip'));
  return {
    name: intern(name),
    namespace: intern(namespace),
    uid: textAt(raw, 'metadata', 'uid'),
    type: type === undefined ? undefined : intern(type),
    createdMs: timeAt(raw, 'metadata', 'creationTimestamp'),
    clusterIps: addresses(clusterIps.length > 0 ? clusterIps : [at(spec, 'clusterIP')]),
    externalIps: addresses(listAt(spec, 'externalIPs')),
    balancerIps: addresses(balancers),
    ports: exact(
      listAt(spec, 'ports').flatMap((one) => {
        const port = portAt(one, 'port');
        const proto = protoOf(one);
        return port === undefined || !proto ? [] : [{ name: nameOf(one), port, nodePort: portAt(one, 'nodePort'), proto }];
      }),
    ),
    localInside: at(spec, 'internalTrafficPolicy') === 'Local',
    localOutside: at(spec, 'externalTrafficPolicy') === 'Local',
    sourceRanges: listAt(spec, 'loadBalancerSourceRanges').length > 0,
    affinity: at(spec, 'sessionAffinity') === 'ClientIP',
  };
}

export function sliceFact(raw: unknown): SliceFact | undefined {
  const name = textAt(raw, 'metadata', 'name');
  const namespace = textAt(raw, 'metadata', 'namespace');
  const service = textAt(raw, 'metadata', 'labels', 'kubernetes.io/service-name');
  if (name === undefined || namespace === undefined || service === undefined) return undefined;
  return {
    name,
    namespace: intern(namespace),
    service: intern(service),
    createdMs: timeAt(raw, 'metadata', 'creationTimestamp'),
    ports: exact(
      listAt(raw, 'ports').flatMap((one) => {
        const port = portAt(one, 'port');
        const proto = protoOf(one);
        return port === undefined || !proto ? [] : [{ name: nameOf(one), port, proto }];
      }),
    ),
    endpoints: listAt(raw, 'endpoints').flatMap((one) => endpointFacts(one, namespace)),
  };
}

export function nodeFact(raw: unknown): NodeFact | undefined {
  const name = textAt(raw, 'metadata', 'name');
  if (name === undefined) return undefined;
  const cidrs = textsAt(raw, 'spec', 'podCIDRs');
  const cidr = textAt(raw, 'spec', 'podCIDR');
  const podCidrs = cidrs.length > 0 || cidr === undefined ? cidrs : [cidr];
  return {
    name: intern(name),
    ips: addresses(listAt(raw, 'status', 'addresses').map((one) => at(one, 'address'))),
    networkIps: flannelIps(raw, podCidrs),
    annotatedIps: calicoIps(raw),
    podCidrs,
  };
}

function podIps(raw: unknown): readonly string[] {
  const all = listAt(raw, 'status', 'podIPs').map((one) => at(one, 'ip'));
  return addresses(all.length > 0 ? all : [at(raw, 'status', 'podIP')]);
}

/**
 * The workload that a pod belongs to. A Deployment names its ReplicaSets `<deployment>-<pod-template-hash>` and puts that
 * hash on their pods as a label, always; so the Deployment is known without watching all ReplicaSets of a cluster, and a
 * ReplicaSet of another owner, whose pods have no such label, is told as itself.
 */
function ownerOf(raw: unknown, labels: Record<string, string>): string | undefined {
  const owners = listAt(raw, 'metadata', 'ownerReferences');
  const owner = owners.find((one) => at(one, 'controller') === true) ?? owners[0];
  const kind = textAt(owner, 'kind');
  const name = textAt(owner, 'name');
  if (kind === undefined || name === undefined || kind === 'Node') return undefined;
  const suffix = `-${labels['pod-template-hash'] ?? ''}`;
  const isDeployment = kind === 'ReplicaSet' && suffix !== '-' && name.length > suffix.length && name.endsWith(suffix);
  return intern(isDeployment ? `Deployment/${name.slice(0, -suffix.length)}` : `${kind}/${name}`);
}

/** The sandbox and with it the address is there shortly before this condition turns true (its times are whole seconds). */
const SANDBOX_LEAD_MS = 1000;

function sinceOf(raw: unknown): PodFact['since'] {
  const condition = listAt(raw, 'status', 'conditions').find((one) => at(one, 'type') === 'PodReadyToStartContainers');
  const readyMs = at(condition, 'status') === 'True' ? timeAt(condition, 'lastTransitionTime') : undefined;
  if (readyMs !== undefined) return { ms: readyMs - SANDBOX_LEAD_MS, exact: true };
  const startMs = timeAt(raw, 'status', 'startTime') ?? timeAt(raw, 'metadata', 'creationTimestamp');
  return startMs === undefined ? undefined : { ms: startMs, exact: false };
}

function endedOf(raw: unknown): number | undefined {
  const containers = listAt(raw, 'status', 'containerStatuses');
  let latest: number | undefined;
  for (const container of containers) {
    const ended = timeAt(container, 'state', 'terminated', 'finishedAt');
    if (ended === undefined) return undefined;
    latest = Math.max(latest ?? 0, ended);
  }
  return latest;
}

/** A pod of another namespace is not believed: who may write a slice has rights in the slice's namespace alone. */
function endpointFacts(raw: unknown, namespace: string): EndpointFact[] {
  const target = at(raw, 'targetRef');
  const uid = textAt(target, 'uid');
  const name = textAt(target, 'name');
  const isOfNamespace = at(target, 'kind') === 'Pod' && textAt(target, 'namespace') === namespace;
  const pod = isOfNamespace && uid !== undefined && name !== undefined ? { uid, name, namespace: intern(namespace) } : undefined;
  const nodeName = textAt(raw, 'nodeName');
  const node = nodeName === undefined ? undefined : intern(nodeName);
  // Absent means ready (EndpointConditions of discovery.k8s.io/v1).
  const isReady = at(raw, 'conditions', 'ready') !== false;
  return addresses(listAt(raw, 'addresses')).map((ip) => ({ ip, node, pod, isReady }));
}

/**
 * Addresses of a node's own interfaces in the pod network: a ping from another node comes from them. flannel gives
 * `flannel.1` the first and the bridge the second address of the node's range.
 */
function flannelIps(raw: unknown, podCidrs: readonly string[]): readonly string[] {
  const backend = at(raw, 'metadata', 'annotations', 'flannel.alpha.coreos.com/backend-type');
  const hasTunnel = backend === 'vxlan' || backend === 'udp';
  return backend === undefined
    ? []
    : addresses(podCidrs.flatMap((cidr) => [hasTunnel && addressIn(cidr, 0), addressIn(cidr, 1)]));
}

/** The same of Calico, which takes them from any range of its own. */
function calicoIps(raw: unknown): readonly string[] {
  const keys = ['IPv4VXLANTunnelAddr', 'IPv6VXLANTunnelAddr', 'IPv4IPIPTunnelAddr', 'IPv4WireguardInterfaceAddr'];
  return addresses(keys.map((key) => at(raw, 'metadata', 'annotations', `projectcalico.org/${key}`)));
}

const NOTHING = Object.freeze<never[]>([]) as never[];

/** For what is kept: a list that has grown has room for 16 more, and of most there is nothing in it. */
export function exact<T>(list: T[]): T[] {
  return list.length === 0 ? NOTHING : list.slice();
}

function addresses(values: unknown[]): readonly string[] {
  return exact(values.map(canonicalIp).filter((ip) => ip !== undefined));
}

function nameOf(port: unknown): string {
  return intern(textAt(port, 'name') ?? '');
}

function protoOf(port: unknown): L4 | undefined {
  const proto = textAt(port, 'protocol') ?? 'TCP';
  return proto === 'TCP' ? 'tcp' : proto === 'UDP' ? 'udp' : proto === 'SCTP' ? 'sctp' : undefined;
}

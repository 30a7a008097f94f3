import { createHash } from 'node:crypto';
import { arch, release } from 'node:os';
import { agentNamespace, KTRACE_NAMESPACE } from '../../protocol/constants.ts';
import { accessObjects } from './access-objects.ts';
import { API_ADDRESS, API_PORT, type LabNode, type LabPod, type LabService, labNodes, labServices } from './plan.ts';
import { selectPods } from './proxy-rules.ts';
import type { ApiObject } from './types.ts';

const AGENTS = agentNamespace(KTRACE_NAMESPACE);

/** The Kubernetes objects of a lab, as `kubectl get -o json` shows those of a real cluster, without what nobody here reads. */
export function labObjects(pods: readonly LabPod[], now: Date = new Date()): ApiObject[] {
  const created = timestamp(now);
  const nodes = labNodes();
  const services = labServices();
  return [
    ...['default', 'kube-system', KTRACE_NAMESPACE, AGENTS].map((name) => namespaceObject(name, created)),
    ...nodes.map((node) => nodeObject(node, created)),
    ...workloadObjects(pods, created),
    ...pods.map((pod) => podObject(pod, created)),
    ...nodes.map((node) => agentPodObject(node, created)),
    ...services.map((service) => serviceObject(service, created)),
    ...services.flatMap((service) => endpointSlices(service, pods, created)),
    ...accessObjects().map((object) => identified(object, created)),
  ];
}

/** A running pod with its addresses, owner and container ports. */
export function podObject(pod: LabPod, created: string = timestamp(new Date())): ApiObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: pod.namespace,
      name: pod.name,
      uid: pod.uid,
      creationTimestamp: created,
      labels: pod.labels,
      ...(pod.owner === undefined ? {} : { ownerReferences: [ownerReference(pod.owner.kind, pod.namespace, pod.owner.name)] }),
    },
    spec: {
      nodeName: pod.node,
      containers: [
        {
          name: pod.workload,
          image: `lab/${pod.workload}`,
          ports: pod.ports.map((port) => ({ name: port.name, containerPort: port.port, protocol: port.protocol })),
        },
      ],
    },
    status: podStatus(nodeOf(pod), [pod.ip, pod.ip6], pod.workload, created),
  };
}

/** The same of a pod whose container has ended, and is not started again yet. */
export function crashedPodObject(pod: LabPod, ended: { exitCode: number; reason: string }, now: Date = new Date()): ApiObject {
  const object = podObject(pod);
  const at = timestamp(now);
  const conditions = ['Ready', 'ContainersReady'].map((type) => ({ type, status: 'False', lastTransitionTime: at }));
  const state = { terminated: { ...ended, startedAt: at, finishedAt: at } };
  const containerStatuses = [{ name: pod.workload, ready: false, started: false, restartCount: 0, state }];
  return { ...object, status: { ...(object['status'] as object), conditions, containerStatuses } };
}

/** The two EndpointSlices (IPv4 and IPv6) of a Service; none for the family in which it has no endpoint. */
export function endpointSlices(
  service: LabService,
  pods: readonly LabPod[],
  created: string = timestamp(new Date()),
): ApiObject[] {
  if (service.selector === undefined) {
    return [endpointSlice(service, 'IPv4', [{ addresses: [API_ADDRESS], conditions: { ready: true } }], created)];
  }
  const selected = selectPods(service.selector, pods);
  return (['IPv4', 'IPv6'] as const).map((family) =>
    endpointSlice(
      service,
      family,
      selected.map((pod) => ({
        addresses: [family === 'IPv4' ? pod.ip : pod.ip6],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: pod.node,
        targetRef: { kind: 'Pod', namespace: pod.namespace, name: pod.name, uid: pod.uid },
      })),
      created,
    ),
  );
}

function endpointSlice(service: LabService, family: 'IPv4' | 'IPv6', endpoints: object[], created: string): ApiObject {
  const name = service.selector === undefined ? service.name : `${service.name}-${suffix(`${service.name} ${family}`)}`;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: service.namespace,
      name,
      uid: uidOf(`EndpointSlice ${service.namespace}/${name}`),
      creationTimestamp: created,
      labels: { 'kubernetes.io/service-name': service.name },
      ownerReferences: [ownerReference('Service', service.namespace, service.name)],
    },
    addressType: family,
    endpoints,
    ports: service.ports.map((port) => ({
      name: port.name,
      port: service.selector === undefined ? API_PORT : port.targetPort,
      protocol: port.protocol,
    })),
  };
}

function serviceObject(service: LabService, created: string): ApiObject {
  const isDual = service.selector !== undefined;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      namespace: service.namespace,
      name: service.name,
      uid: uidOf(`Service ${service.namespace}/${service.name}`),
      creationTimestamp: created,
      labels: service.selector ?? { component: 'apiserver', provider: 'kubernetes' },
    },
    spec: {
      type: service.ports.some((port) => port.nodePort !== undefined) ? 'NodePort' : 'ClusterIP',
      clusterIP: service.clusterIp,
      clusterIPs: isDual ? [service.clusterIp, service.clusterIp6] : [service.clusterIp],
      ipFamilies: isDual ? ['IPv4', 'IPv6'] : ['IPv4'],
      ipFamilyPolicy: isDual ? 'PreferDualStack' : 'SingleStack',
      internalTrafficPolicy: 'Cluster',
      sessionAffinity: 'None',
      ...(service.selector === undefined ? {} : { selector: service.selector }),
      ports: service.ports.map((port) => ({
        ...(port.name === '' ? {} : { name: port.name }),
        port: port.port,
        targetPort: port.targetPort,
        protocol: port.protocol,
        ...(port.nodePort === undefined ? {} : { nodePort: port.nodePort }),
      })),
    },
    status: { loadBalancer: {} },
  };
}

function nodeObject(node: LabNode, created: string): ApiObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: node.name,
      uid: uidOf(`Node ${node.name}`),
      creationTimestamp: created,
      labels: { 'kubernetes.io/hostname': node.name, 'kubernetes.io/os': 'linux' },
      annotations: { 'flannel.alpha.coreos.com/backend-type': 'vxlan', 'flannel.alpha.coreos.com/public-ip': node.ip },
    },
    spec: { podCIDR: node.podCidr, podCIDRs: [node.podCidr, node.podCidr6] },
    status: {
      addresses: [
        { type: 'InternalIP', address: node.ip },
        { type: 'InternalIP', address: node.ip6 },
        { type: 'Hostname', address: node.name },
      ],
      conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', lastTransitionTime: created }],
      nodeInfo: { architecture: arch() === 'x64' ? 'amd64' : arch(), kernelVersion: release(), operatingSystem: 'linux' },
    },
  };
}

function namespaceObject(name: string, created: string): ApiObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      uid: uidOf(`Namespace ${name}`),
      creationTimestamp: created,
      labels: { 'kubernetes.io/metadata.name': name },
    },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  };
}

/** As the server would have made it: with a uid, which tokens of a service account hold, and a time. */
function identified(object: ApiObject, created: string): ApiObject {
  const { namespace = '', name } = object.metadata;
  const uid = uidOf(`${object.kind} ${namespace}/${name}`);
  return { ...object, metadata: { ...object.metadata, uid, creationTimestamp: created } };
}

/** Deployments with their ReplicaSets, and the DaemonSets of ktrace. */
function workloadObjects(pods: readonly LabPod[], created: string): ApiObject[] {
  const bySet = Map.groupBy(
    pods.filter((pod) => pod.deployment !== undefined),
    (pod) => `${pod.namespace}/${pod.owner?.name}`,
  );
  const replicated = [...bySet.values()].flatMap((members) => {
    const [pod] = members;
    if (pod?.owner === undefined || pod.deployment === undefined) return [];
    const { 'pod-template-hash': hash = '', ...selector } = pod.labels;
    const replicaSet = workload(
      'ReplicaSet',
      pod.namespace,
      pod.owner.name,
      { ...selector, 'pod-template-hash': hash },
      members.length,
      created,
    );
    replicaSet.metadata['ownerReferences'] = [ownerReference('Deployment', pod.namespace, pod.deployment)];
    return [workload('Deployment', pod.namespace, pod.deployment, selector, members.length, created), replicaSet];
  });
  const daemonSets = (
    [
      ['agent', AGENTS],
      ['gate', KTRACE_NAMESPACE],
    ] as const
  ).map(([component, namespace]) => workload('DaemonSet', namespace, `ktrace-${component}`, ktraceLabels(component), 3, created));
  return [...replicated, ...daemonSets];
}

function workload(
  kind: string,
  namespace: string,
  name: string,
  labels: Record<string, string>,
  replicas: number,
  created: string,
): ApiObject {
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { namespace, name, uid: uidOf(`${kind} ${namespace}/${name}`), creationTimestamp: created, labels, generation: 1 },
    spec: {
      ...(kind === 'DaemonSet' ? {} : { replicas }),
      selector: { matchLabels: labels },
      template: { metadata: { labels } },
    },
    status:
      kind === 'DaemonSet'
        ? { currentNumberScheduled: replicas, desiredNumberScheduled: replicas, numberReady: replicas, numberMisscheduled: 0 }
        : { replicas, readyReplicas: replicas, availableReplicas: replicas },
  };
}

/** An agent is a pod on the host's network: its addresses are the node's. */
function agentPodObject(node: LabNode, created: string): ApiObject {
  const name = `ktrace-agent-${suffix(node.name)}`;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: AGENTS,
      name,
      uid: uidOf(`Pod ${name}`),
      creationTimestamp: created,
      labels: ktraceLabels('agent'),
      ownerReferences: [ownerReference('DaemonSet', AGENTS, 'ktrace-agent')],
    },
    spec: { nodeName: node.name, hostNetwork: true, containers: [{ name: 'agent', image: 'lab/agent' }] },
    status: podStatus(node, [node.ip, node.ip6], 'agent', created),
  };
}

function podStatus(node: LabNode, ips: readonly string[], container: string, created: string): Record<string, unknown> {
  return {
    phase: 'Running',
    hostIP: node.ip,
    hostIPs: [{ ip: node.ip }, { ip: node.ip6 }],
    podIP: ips[0],
    podIPs: ips.map((ip) => ({ ip })),
    startTime: created,
    conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({
      type,
      status: 'True',
      lastTransitionTime: created,
    })),
    containerStatuses: [
      { name: container, ready: true, started: true, restartCount: 0, state: { running: { startedAt: created } } },
    ],
  };
}

function ktraceLabels(component: string): Record<string, string> {
  return { 'app.kubernetes.io/name': 'ktrace', 'app.kubernetes.io/component': component };
}

function ownerReference(kind: string, namespace: string, name: string) {
  const apiVersion = kind === 'Service' ? 'v1' : 'apps/v1';
  return { apiVersion, kind, name, uid: uidOf(`${kind} ${namespace}/${name}`), controller: true, blockOwnerDeletion: true };
}

function nodeOf(pod: LabPod): LabNode {
  const node = labNodes().find((candidate) => candidate.name === pod.node);
  if (node === undefined) throw new RangeError(`no node ${pod.node} in the lab's plan`);
  return node;
}

/** A uid that is the same for the same object, in the form of a UUID. */
function uidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-');
}

/** Five characters, as generated names end in. */
function suffix(text: string): string {
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
  const digest = createHash('sha256').update(text).digest();
  return [...digest.subarray(0, 5)].map((byte) => alphabet[byte % alphabet.length]).join('');
}

/** Kubernetes' form: whole seconds. */
function timestamp(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { GATE_PORT, METRICS_PORT } from '../../protocol/constants.ts';

/**
 * The lab's address plan.
 *
 *     underlay   192.168.60.0/24   fd00:192:168:60::/64   switch .1 (router to nowhere) and .250 (API server), hostN .1N
 *     pods       10.244.0.0/16     fd00:10:244::/48       hostN has 10.244.N.0/24 and fd00:10:244:N::/64, cni0 is .1
 *     Services   10.96.0.0/16      fd00:10:96::/112
 */
export const POD_CIDR = '10.244.0.0/16';
export const POD_CIDR_V6 = 'fd00:10:244::/48';
/** Where the API server answers inside the lab: on the switch, as a control plane beside the nodes. */
export const API_ADDRESS = '192.168.60.250';
export const API_PORT = 6443;
/** A port of the redis slaves that no policy lets anyone reach: a FORWARD rule of each node drops it. */
export const FORBIDDEN_PORT = 6380;
/** The address of kube-dns, as in a pod's resolv.conf. */
export const CLUSTER_DNS = '10.96.0.10';

export interface LabNode {
  name: string;
  index: number;
  ip: string;
  ip6: string;
  podCidr: string;
  podCidr6: string;
}

/** What runs in a pod: programs of `workload/`, a redis-server, the gate, or nothing but its network. */
export type Workload = 'frontend' | 'redis-master' | 'redis-slave' | 'dns' | 'gate' | 'idle';

export interface LabPod {
  namespace: string;
  name: string;
  uid: string;
  node: string;
  ip: string;
  ip6: string;
  /** Host-side interface: `veth` and eight hex digits, as the CNI bridge plugin names it. */
  veth: string;
  workload: Workload;
  labels: Record<string, string>;
  /** Owner, e.g. a ReplicaSet; the Deployment above it is named by {@link LabPod.deployment}. */
  owner?: { kind: 'ReplicaSet' | 'DaemonSet'; name: string };
  deployment?: string;
  /** Named container ports. */
  ports: { name: string; port: number; protocol: 'TCP' | 'UDP' }[];
}

export interface LabService {
  namespace: string;
  name: string;
  clusterIp: string;
  clusterIp6: string;
  selector?: Record<string, string>;
  ports: { name: string; port: number; targetPort: number; protocol: 'TCP' | 'UDP'; nodePort?: number }[];
}

/** Nodes host1 to host3. */
export function labNodes(): LabNode[] {
  return [1, 2, 3].map((index) => ({
    name: `host${index}`,
    index,
    ip: `192.168.60.1${index}`,
    ip6: `fd00:192:168:60::1${index}`,
    podCidr: `10.244.${index}.0/24`,
    podCidr6: `fd00:10:244:${index}::/64`,
  }));
}

/** The guestbook, the cluster's DNS and one gate a node, with fresh uids and interface names. */
export function labPods(): LabPod[] {
  return [
    ...[
      { name: 'frontend-88237173-jdfgg', node: 1, host: 2 },
      { name: 'frontend-88237173-mzmjf', node: 2, host: 2 },
      { name: 'frontend-88237173-z3ltv', node: 1, host: 3 },
    ].map((pod) => frontend(pod.name, pod.node, pod.host)),
    redis('redis-master-343230949-2qrp7', 'master', 3, 2),
    redis('redis-slave-132015689-890b2', 'slave', 1, 4),
    redis('redis-slave-132015689-k0rk5', 'slave', 3, 3),
    dns('coredns-5d78c9869d-7xk2p', 2, 3),
    gate('ktrace-gate-4fd7n', 1, 5),
    gate('ktrace-gate-p92cw', 2, 4),
    gate('ktrace-gate-zk8vx', 3, 4),
  ];
}

/** The cluster's Services. `kubernetes` has no selector: its endpoint is the API server. */
export function labServices(): LabService[] {
  const redisPort = [{ name: '', port: 6379, targetPort: 6379, protocol: 'TCP' as const }];
  return [
    {
      ...clusterIps(1),
      namespace: 'default',
      name: 'kubernetes',
      ports: [{ name: 'https', port: 443, targetPort: API_PORT, protocol: 'TCP' }],
    },
    {
      ...clusterIps(10),
      namespace: 'kube-system',
      name: 'kube-dns',
      selector: { 'k8s-app': 'kube-dns' },
      ports: [
        { name: 'dns', port: 53, targetPort: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, targetPort: 53, protocol: 'TCP' },
      ],
    },
    {
      ...clusterIps(80),
      namespace: 'default',
      name: 'frontend',
      selector: { app: 'guestbook', tier: 'frontend' },
      ports: [{ name: '', port: 80, targetPort: 80, protocol: 'TCP', nodePort: 30080 }],
    },
    {
      ...clusterIps(63),
      namespace: 'default',
      name: 'redis-master',
      selector: { app: 'redis', role: 'master' },
      ports: redisPort,
    },
    {
      ...clusterIps(64),
      namespace: 'default',
      name: 'redis-slave',
      selector: { app: 'redis', role: 'slave' },
      ports: redisPort,
    },
  ];
}

/** The node of this name. */
export function nodeNamed(name: string): LabNode {
  const node = labNodes().find((candidate) => candidate.name === name);
  if (node === undefined) throw new RangeError(`no node ${name} in the lab's plan`);
  return node;
}

/** A fresh name for a pod's host-side interface. */
export function vethName(): string {
  return `veth${randomBytes(4).toString('hex')}`;
}

/** A locally administered MAC address, the same for the same text. */
export function macOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function clusterIps(last: number): { clusterIp: string; clusterIp6: string } {
  return { clusterIp: `10.96.0.${last}`, clusterIp6: `fd00:10:96::${last.toString(16)}` };
}

function podBase(node: number, host: number) {
  return {
    uid: randomUUID(),
    node: `host${node}`,
    ip: `10.244.${node}.${host}`,
    ip6: `fd00:10:244:${node}::${host}`,
    veth: vethName(),
  };
}

function frontend(name: string, node: number, host: number): LabPod {
  return {
    ...podBase(node, host),
    namespace: 'default',
    name,
    workload: 'frontend',
    labels: { app: 'guestbook', tier: 'frontend', 'pod-template-hash': '88237173' },
    owner: { kind: 'ReplicaSet', name: 'frontend-88237173' },
    deployment: 'frontend',
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
  };
}

function redis(name: string, role: 'master' | 'slave', node: number, host: number): LabPod {
  const hash = name.split('-')[2] ?? '';
  return {
    ...podBase(node, host),
    namespace: 'default',
    name,
    workload: `redis-${role}`,
    labels: { app: 'redis', role, tier: 'backend', 'pod-template-hash': hash },
    owner: { kind: 'ReplicaSet', name: `redis-${role}-${hash}` },
    deployment: `redis-${role}`,
    ports: [{ name: 'redis', port: 6379, protocol: 'TCP' }],
  };
}

function dns(name: string, node: number, host: number): LabPod {
  return {
    ...podBase(node, host),
    namespace: 'kube-system',
    name,
    workload: 'dns',
    labels: { 'k8s-app': 'kube-dns', 'pod-template-hash': '5d78c9869d' },
    owner: { kind: 'ReplicaSet', name: 'coredns-5d78c9869d' },
    deployment: 'coredns',
    ports: [
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53, protocol: 'TCP' },
    ],
  };
}

function gate(name: string, node: number, host: number): LabPod {
  return {
    ...podBase(node, host),
    namespace: 'ktrace',
    name,
    workload: 'gate',
    labels: {
      'app.kubernetes.io/name': 'ktrace',
      'app.kubernetes.io/component': 'gate',
      'controller-revision-hash': '6d9f7c5b84',
    },
    owner: { kind: 'DaemonSet', name: 'ktrace-gate' },
    ports: [
      { name: 'stream', port: GATE_PORT, protocol: 'TCP' },
      { name: 'metrics', port: METRICS_PORT, protocol: 'TCP' },
    ],
  };
}

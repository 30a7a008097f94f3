import { createHash } from 'node:crypto';

/** The namespace that holds everything but nodes. */
export const NAMESPACE = 'ktrace-scale';
/** Of everything that was made here, so that it can be taken away. */
export const LABEL = { 'ktrace.dev/scale': 'yes' };
/** The node whose agent is measured. */
export const OWN_NODE = nodeName(0);
/** What a node's image list usually comes to; a kubelet tells 50 at most. */
const IMAGES = 30;

export function nodeName(index: number): string {
  return `scale-node-${index}`;
}

/** A node as a kubelet keeps it, heartbeats and images included: that is what every watcher of nodes gets with each of them. */
export function node(index: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: nodeName(index), labels: nodeLabels(index) },
    spec: nodeSpec(index),
  };
}

/** What a kubelet reports at least every five minutes. */
export function nodeStatus(index: number, at: Date): { status: object } {
  const condition = (type: string, status: string) => ({
    type,
    status,
    reason: 'Kubelet',
    message: `kubelet says ${type} is ${status}`,
    lastHeartbeatTime: at.toISOString(),
    lastTransitionTime: '2026-01-01T00:00:00Z',
  });
  const amounts = { cpu: '32', memory: '131072Mi', pods: '110', 'ephemeral-storage': '500Gi' };
  return {
    status: {
      addresses: [
        { type: 'InternalIP', address: address('100.64', index) },
        { type: 'Hostname', address: nodeName(index) },
      ],
      capacity: amounts,
      allocatable: amounts,
      conditions: [
        ...['MemoryPressure', 'DiskPressure', 'PIDPressure'].map((type) => condition(type, 'False')),
        condition('Ready', 'True'),
      ],
      nodeInfo: {
        machineID: uid('machine', index).replaceAll('-', ''),
        systemUUID: uid('system', index),
        bootID: uid('boot', index),
        kernelVersion: '6.12.0-1-amd64',
        osImage: 'Debian GNU/Linux 13 (trixie)',
        containerRuntimeVersion: 'containerd://2.3.0',
        kubeletVersion: 'v1.36.3',
        kubeProxyVersion: '',
        operatingSystem: 'linux',
        architecture: 'amd64',
      },
      images: Array.from({ length: IMAGES }, (_, image) => ({
        names: [
          `registry.example/team-${image % 7}/service-${image}@sha256:${hash('image', image)}`,
          `registry.example/${image}:v1`,
        ],
        sizeBytes: 50_000_000 + image,
      })),
    },
  };
}

/** A pod that is bound already; nothing runs it. It tolerates everything, so that no controller evicts it. */
export function pod(index: number, onNode: string): object {
  const env = Array.from({ length: 8 }, (_, at) => ({ name: `SETTING_${at}`, value: `value ${at} of ${index % 100}` }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: NAMESPACE,
      name: podName(index),
      labels: {
        ...LABEL,
        app: `app-${index % 500}`,
        tier: index % 2 === 0 ? 'front' : 'back',
        'pod-template-hash': '5c9d7f6b84',
      },
      annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '8080' },
      ownerReferences: [
        {
          apiVersion: 'apps/v1',
          kind: 'ReplicaSet',
          name: `app-${index % 500}-5c9d7f6b84`,
          uid: uid('set', index % 500),
          controller: true,
        },
      ],
    },
    spec: {
      nodeName: onNode,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      tolerations: [{ operator: 'Exists' }],
      containers: [
        {
          name: 'main',
          image: `registry.example/app-${index % 500}:v1`,
          env,
          ports: [{ name: 'http', containerPort: 8080 }],
          resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
          readinessProbe: { httpGet: { path: '/healthz', port: 8080 } },
        },
      ],
    },
  };
}

export function podName(index: number): string {
  return `app-${index % 500}-5c9d7f6b84-${index}`;
}

/** What the kubelet tells of a running pod. */
export function podStatus(index: number, ip: string, isReady: boolean): object {
  const since = '2026-01-01T00:00:00Z';
  const ready = isReady ? 'True' : 'False';
  return {
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      hostIP: address('100.64', index % 100),
      startTime: since,
      conditions: [
        { type: 'PodReadyToStartContainers', status: 'True', lastTransitionTime: since },
        { type: 'Initialized', status: 'True', lastTransitionTime: since },
        { type: 'Ready', status: ready, lastTransitionTime: since },
        { type: 'ContainersReady', status: ready, lastTransitionTime: since },
        { type: 'PodScheduled', status: 'True', lastTransitionTime: since },
      ],
      containerStatuses: [
        {
          name: 'main',
          image: `registry.example/app-${index % 500}:v1`,
          imageID: `sha256:${hash('image', index % 500)}`,
          containerID: `containerd://${hash('container', index)}`,
          ready: isReady,
          started: true,
          restartCount: 0,
          state: { running: { startedAt: since } },
        },
      ],
    },
  };
}

/** Without a selector: its EndpointSlice is ours to write, and no controller adds another. The server gives it an address. */
export function service(index: number): object {
  const ports = [
    { name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' },
    { name: 'metrics', port: 9090, targetPort: 9090, protocol: 'TCP' },
  ];
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: NAMESPACE, name: serviceName(index), labels: { ...LABEL, app: `app-${index % 500}` } },
    spec: { ports },
  };
}

export function serviceName(index: number): string {
  return `service-${index}`;
}

/** One end of a slice. */
export interface End {
  ip: string;
  podName: string;
  podUid: string;
  node: string;
  isReady: boolean;
}

/** As the EndpointSlice controller writes it. */
export function slice(index: number, ends: readonly End[]): object {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: NAMESPACE,
      name: sliceName(index),
      labels: {
        ...LABEL,
        'kubernetes.io/service-name': serviceName(index),
        'endpointslice.kubernetes.io/managed-by': 'ktrace-scale',
      },
    },
    addressType: 'IPv4',
    ports: [
      { name: 'http', port: 8080, protocol: 'TCP' },
      { name: 'metrics', port: 9090, protocol: 'TCP' },
    ],
    endpoints: ends.map(({ ip, podName: name, podUid, node, isReady }) => ({
      addresses: [ip],
      conditions: { ready: isReady, serving: isReady, terminating: false },
      nodeName: node,
      zone: 'zone-a',
      targetRef: { kind: 'Pod', namespace: NAMESPACE, name, uid: podUid },
    })),
  };
}

export function sliceName(index: number): string {
  return `${serviceName(index)}-ep5x8`;
}

/** A pod's address: 10.128.0.0/9. */
export function podIp(index: number): string {
  return `10.${128 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

/** The address of a pod that took another's place: 172.16.0.0/12. */
export function laterPodIp(count: number): string {
  return `172.${16 + ((count >> 16) & 15)}.${(count >> 8) & 255}.${count & 255}`;
}

/** An id that is the same whenever it is asked for. */
export function uid(kind: string, index: number): string {
  const digits = hash(kind, index);
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    `4${digits.slice(13, 16)}`,
    `8${digits.slice(17, 20)}`,
    digits.slice(20, 32),
  ].join('-');
}

function nodeLabels(index: number): Record<string, string> {
  return {
    ...LABEL,
    'kubernetes.io/hostname': nodeName(index),
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    'topology.kubernetes.io/zone': `zone-${index % 3}`,
    'node.kubernetes.io/instance-type': 'large',
  };
}

function nodeSpec(index: number): object {
  const podCIDR = `10.${128 + (index >> 8)}.${index & 255}.0/24`;
  return { podCIDR, podCIDRs: [podCIDR] };
}

function address(network: string, index: number): string {
  return `${network}.${index >> 8}.${index & 255}`;
}

function hash(kind: string, index: number): string {
  return createHash('sha256').update(`${kind} ${index}`).digest('hex');
}

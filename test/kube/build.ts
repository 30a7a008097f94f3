import { nodeFact, podFact, serviceFact, sliceFact } from '../../src/kube/index/facts.ts';
import { NamesIndex } from '../../src/kube/index/names-index.ts';
import { captured, type RawObject } from './fixtures.ts';

/** A clock that only moves when it is told to. */
export interface TestClock {
  now: () => number;
  set(ms: number): void;
}

export function testClock(ms: number): TestClock {
  let at = ms;
  return {
    now: () => at,
    set: (to) => {
      at = to;
    },
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** A pod as the API server would send it. */
export function rawPod(over: {
  name: string;
  uid?: string;
  ip?: string;
  ips?: string[];
  namespace?: string;
  node?: string;
  labels?: Record<string, string>;
  owner?: { kind: string; name: string };
  phase?: string;
  hostNetwork?: boolean;
  startMs?: number;
  readyMs?: number;
  endedMs?: number;
}): RawObject {
  const ips = over.ips ?? (over.ip === undefined ? [] : [over.ip]);
  return {
    metadata: {
      name: over.name,
      namespace: over.namespace ?? 'default',
      uid: over.uid ?? `uid-${over.name}`,
      labels: over.labels ?? {},
      ownerReferences: over.owner ? [{ ...over.owner, controller: true }] : undefined,
      resourceVersion: '1',
    },
    spec: { nodeName: over.node ?? 'host1', hostNetwork: over.hostNetwork },
    status: {
      phase: over.phase ?? 'Running',
      podIP: ips[0],
      podIPs: ips.map((ip) => ({ ip })),
      startTime: over.startMs === undefined ? undefined : iso(over.startMs),
      conditions:
        over.readyMs === undefined
          ? []
          : [{ type: 'PodReadyToStartContainers', status: 'True', lastTransitionTime: iso(over.readyMs) }],
      containerStatuses: over.endedMs === undefined ? [] : [{ state: { terminated: { finishedAt: iso(over.endedMs) } } }],
    },
  };
}

export function putPod(index: NamesIndex, over: Parameters<typeof rawPod>[0]): void {
  const fact = podFact(rawPod(over));
  if (!fact) throw new Error('the test made a pod that is none');
  index.putPod(fact);
}

export function rawService(name: string, spec: RawObject, namespace = 'default', createdMs = 0): RawObject {
  return { metadata: { name, namespace, creationTimestamp: iso(createdMs), resourceVersion: '1' }, spec, status: {} };
}

export function rawSlice(
  name: string,
  service: string,
  endpoints: { ip: string; pod?: string; uid?: string; podNamespace?: string; node?: string; ready?: boolean }[],
  namespace = 'default',
): RawObject {
  return {
    metadata: { name, namespace, labels: { 'kubernetes.io/service-name': service }, resourceVersion: '1' },
    ports: [{ name: '', port: 80, protocol: 'TCP' }],
    endpoints: endpoints.map((one) => ({
      addresses: [one.ip],
      nodeName: one.node ?? 'host2',
      conditions: one.ready === undefined ? {} : { ready: one.ready },
      targetRef:
        one.pod === undefined
          ? undefined
          : { kind: 'Pod', namespace: one.podNamespace ?? namespace, name: one.pod, uid: one.uid ?? `uid-${one.pod}` },
    })),
  };
}

export function rawNode(name: string, ip: string, podCidr?: string, externalIp?: string, annotations?: RawObject): RawObject {
  return {
    metadata: { name, annotations, resourceVersion: '1' },
    spec: { podCIDR: podCidr, podCIDRs: podCidr === undefined ? undefined : [podCidr] },
    status: {
      addresses: [
        { type: 'InternalIP', address: ip },
        { type: 'Hostname', address: name },
        ...(externalIp === undefined ? [] : [{ type: 'ExternalIP', address: externalIp }]),
      ],
    },
  };
}

export function putService(index: NamesIndex, raw: RawObject): void {
  const fact = serviceFact(raw);
  if (!fact) throw new Error('the test made a Service that is none');
  index.putService(fact);
}

export function putSlice(index: NamesIndex, raw: RawObject): void {
  const fact = sliceFact(raw);
  if (!fact) throw new Error('the test made an EndpointSlice that is none');
  index.putSlice(fact);
}

export function putNode(index: NamesIndex, raw: RawObject): void {
  const fact = nodeFact(raw);
  if (!fact) throw new Error('the test made a node that is none');
  index.putNode(fact);
}

/** An index of a node of the real cluster whose objects were captured. */
export function capturedIndex(mode: 'iptables' | 'nftables', node: string, now: () => number = Date.now): NamesIndex {
  const objects = captured(mode);
  const index = new NamesIndex({ node, now });
  const used = <T>(raws: RawObject[], reduce: (raw: unknown) => T | undefined) =>
    raws.map(reduce).filter((one) => one !== undefined);
  index.replaceNodes(used(objects.Node, nodeFact));
  index.replacePods(used(objects.Pod, podFact).filter((pod) => pod.node === node));
  index.replaceServices(used(objects.Service, serviceFact));
  index.replaceSlices(used(objects.EndpointSlice, sliceFact));
  index.proxyMode = mode;
  return index;
}

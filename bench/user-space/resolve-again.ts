import { Followers, type FollowersOptions } from '../../src/agent/pipeline/followers.ts';
import { Notices } from '../../src/agent/pipeline/notices/notices.ts';
import type { Target } from '../../src/event/target.ts';
import type { PodFact, ServiceFact, SliceFact } from '../../src/kube/index/facts.ts';
import { NamesIndex } from '../../src/kube/index/names-index.ts';
import { resolveTargets } from '../../src/kube/targets.ts';
import { Guard } from '../../src/util/guard.ts';
import { createLog } from '../../src/util/log.ts';
import { type Spread, spread } from '../stats.ts';

/** Milliseconds of the agent's thread for one change of the cluster, without what the kernel's maps take. */
export interface ResolvingCost {
  endpoints: number;
  followers: number;
  /** A change of an endpoint of a Service that nobody follows. */
  ofNobody: Spread;
  /** A new pod that one follower follows. Each follows a namespace, with its part of the endpoints. */
  ofOne: Spread;
  /** A new pod that all followers follow. Each follows all pods, with all endpoints. */
  ofAll: Spread;
}

const NODE = 'host1';
const NAMESPACES = 10;
const SERVICES = 200;
const ENDPOINTS = 10;
const OWN_PODS = 10;
const SERVICE_PORTS: ServiceFact['ports'] = [{ name: '', port: 80, nodePort: undefined, proto: 'tcp' }];

/** What resolving again after a change takes, with 20,000 endpoints and ten followers. It needs no kernel. */
export async function measureResolving({ rounds }: { rounds: number }): Promise<ResolvingCost> {
  const ofNamespaces = follow((namespace) => [{ kind: 'namespace', name: `ns-${namespace}` }], endpointsOf);
  const ofNobody = await ofNamespaces(rounds, (index, round) => index.putSlice(sliceOf(NAMESPACES, 0, round)));
  const ofOne = await ofNamespaces(rounds, (index, round) => index.putPod(podOf(3, OWN_PODS + round)));
  const all = Array.from({ length: NAMESPACES }, (_, namespace) => endpointsOf(namespace)).flat();
  const ofEverything = follow(
    () => [{ kind: 'all' }],
    () => all,
  );
  const ofAll = await ofEverything(rounds, (index, round) => index.putPod(podOf(3, OWN_PODS + round)));
  return { endpoints: all.length, followers: NAMESPACES, ofNobody, ofOne, ofAll };
}

/** Measures a change of an index with ten followers. */
function follow(targets: (follower: number) => Target[], addresses: (follower: number) => string[]) {
  return async (rounds: number, change: (index: NamesIndex, round: number) => void): Promise<Spread> => {
    const index = filledIndex();
    let done: ((ms: number) => void) | undefined;
    let beganMs: number | undefined;
    /** Called before and after the targets are resolved. */
    const nowMs = () => {
      const now = performance.now();
      if (beganMs === undefined) beganMs = now;
      else {
        done?.(now - beganMs);
        beganMs = undefined;
      }
      return now;
    };
    const log = createLog('bench', 'error');
    const options: FollowersOptions = {
      naming: {
        resolve: (targets, extra, allowed) => resolveTargets(targets, index, extra, allowed),
        placeOf: (ip, namespaces) => index.placeOf(ip, namespaces),
      },
      tracer: { targets: { set: () => undefined, add: () => undefined } },
      interfaces: { ownAddresses: new Set(['192.168.0.1']), newPodAddresses: () => [] },
      notices: new Notices(NODE, () => undefined),
      guard: new Guard(log),
      log,
      tell: () => undefined,
      changed: () => followers.give(),
      nowMs,
    };
    const followers = new Followers(options);
    const sink = { event: () => undefined, resolved: () => undefined };
    for (let follower = 0; follower < NAMESPACES; follower++)
      followers.add({ targets: targets(follower), addresses: addresses(follower), units: 'flows' }, sink, 'all');
    followers.give();
    index.onChange((one) => followers.resolveAgain(one));
    const samples: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const resolved = new Promise<number>((resolve) => {
        done = resolve;
      });
      const changedMs = performance.now();
      change(index, round);
      const toldMs = performance.now() - changedMs;
      samples.push(toldMs + (await resolved));
    }
    followers.clear();
    return spread(samples);
  };
}

function filledIndex(): NamesIndex {
  const index = new NamesIndex({ node: NODE });
  index.putNode({ name: NODE, ips: ['192.168.0.1'], networkIps: [], annotatedIps: [], podCidrs: [] });
  for (let namespace = 0; namespace <= NAMESPACES; namespace++) {
    for (let service = 0; service < SERVICES; service++) {
      index.putService(serviceOf(namespace, service));
      if (namespace < NAMESPACES) index.putSlice(sliceOf(namespace, service, 0));
    }
    for (let pod = 0; pod < OWN_PODS; pod++) index.putPod(podOf(namespace, pod));
  }
  return index;
}

/** The addresses of a namespace's pods on other nodes. */
function endpointsOf(namespace: number): string[] {
  return Array.from({ length: SERVICES }, (_, service) => sliceOf(namespace, service, 0).endpoints.map(({ ip }) => ip)).flat();
}

function serviceOf(namespace: number, service: number): ServiceFact {
  return {
    ...{ namespace: `ns-${namespace}`, name: `s-${service}`, uid: undefined, type: 'ClusterIP', createdMs: 0 },
    ...{ clusterIps: [`10.96.${namespace}.${service}`], externalIps: [], balancerIps: [], ports: SERVICE_PORTS },
    ...{ localInside: false, localOutside: false, sourceRanges: false, affinity: false },
  };
}

/** @param version each has another first endpoint */
function sliceOf(namespace: number, service: number, version: number): SliceFact {
  const endpoints = Array.from({ length: ENDPOINTS }, (_, at) => {
    const host = at === 0 && version > 0 ? 100 + version : at;
    const pod = { namespace: `ns-${namespace}`, name: `p-${service}-${host}`, uid: `${namespace}-${service}-${host}` };
    return { ip: `10.${128 + namespace}.${service}.${host}`, node: 'host2', pod, isReady: true };
  });
  return {
    ...{ namespace: `ns-${namespace}`, name: `s-${service}-1`, service: `s-${service}`, createdMs: 0 },
    ports: [{ name: '', port: 8080, proto: 'tcp' }],
    endpoints,
  };
}

function podOf(namespace: number, pod: number): PodFact {
  return {
    ...{ uid: `own-${namespace}-${pod}`, namespace: `ns-${namespace}`, name: `own-${pod}`, node: NODE, labels: {} },
    ...{ owner: undefined, ips: [`10.244.${namespace}.${pod}`], hostNetwork: false, since: undefined },
    ...{ endedMs: undefined, isFinished: false, health: { containers: [], notReadySinceMs: undefined, isDeleting: false } },
  };
}

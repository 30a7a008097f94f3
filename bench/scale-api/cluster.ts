import { type AdminApi, ApiFailure, inParallel, unlessThere } from './api.ts';
import * as objects from './objects.ts';
import { NAMESPACE, OWN_NODE } from './objects.ts';

/** How many objects the API server has of ours. */
export interface Size {
  pods: number;
  services: number;
  /** In the Services' EndpointSlices, one slice each. */
  endpoints: number;
  nodes: number;
}

const IN_NAMESPACE = `/api/v1/namespaces/${NAMESPACE}`;
const SLICES = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`;
/** Where a run leaves word of what it has written. */
const SIZE_KEY = 'ktrace.dev/scale-size';
const LEAST_NODES = 600;
/** Of a minute each. */
const DELETE_TRIES = 10;
const PATCH = 'application/strategic-merge-patch+json';

interface Known {
  metadata: { annotations?: Record<string, string> };
}

/** A cluster that exists in the API server alone: objects that nothing stands behind. */
export class PaperCluster {
  readonly #api: AdminApi;
  readonly #ownPods: number;
  readonly #progress: (text: string) => void;
  readonly #isUnready = new Set<number>();
  #size: Size = { pods: 0, services: 0, endpoints: 0, nodes: 0 };
  #renewed = 0;
  /** Pods that took others' places under their names: which one it is by now. */
  readonly #incarnations = new Map<number, number>();

  /** @param ownPods so many of the pods are on the node whose agent is measured */
  constructor(api: AdminApi, ownPods: number, progress: (text: string) => void) {
    this.#api = api;
    this.#ownPods = ownPods;
    this.#progress = progress;
  }

  get size(): Size {
    return this.#size;
  }

  /** The namespace, and the account without which no pod is taken. What an earlier run has left there is taken over. */
  async begin(): Promise<void> {
    const known = await this.#api.call<Known>('GET', `/api/v1/namespaces/${NAMESPACE}`).catch(unlessGone);
    const size = known?.metadata.annotations?.[SIZE_KEY];
    if (size !== undefined) {
      this.#size = JSON.parse(size) as Size;
      return;
    }
    await this.#api.call('POST', '/api/v1/namespaces', { metadata: { name: NAMESPACE, labels: objects.LABEL } });
    await this.#api.call('POST', `${IN_NAMESPACE}/serviceaccounts`, { metadata: { name: 'default' } }).catch(unlessThere);
  }

  /** Adds what is missing up to this size. Existing EndpointSlices are written anew where they get more endpoints. */
  async grow(to: Size): Promise<void> {
    const from = this.#size;
    this.#size = to;
    await this.#each('nodes', from.nodes, to.nodes, async (index) => {
      await this.#api.call('POST', '/api/v1/nodes', objects.node(index));
    });
    // An agent never hears of the status of other nodes' pods: those get theirs when they change.
    await this.#each('pods', from.pods, to.pods, (index) => this.#createPod(index, index < this.#ownPods));
    await this.#each('Services', from.services, to.services, (index) =>
      this.#api.call('POST', `${IN_NAMESPACE}/services`, objects.service(index)),
    );
    await this.#each('EndpointSlices', from.services, to.services, (index) =>
      this.#api.call('POST', SLICES, objects.slice(index, this.#ends(index))),
    );
    if (to.endpoints !== from.endpoints)
      await this.#each('older EndpointSlices', 0, from.services, (index) => this.#writeSlice(index));
    const annotations = { [SIZE_KEY]: JSON.stringify(to) };
    await this.#api.call('PATCH', `/api/v1/namespaces/${NAMESPACE}`, { metadata: { annotations } }, PATCH);
  }

  /**
   * One change as a cluster has them: a pod gets ready or unready, or (each tenth) is replaced by a new one with another address;
   * its EndpointSlice is written in either case. Resolves when it is on the server.
   */
  async change(index: number): Promise<void> {
    if (index % 10 === 0) {
      await this.#deletePod(index);
      this.#renewed += 1;
      this.#incarnations.set(index, this.#renewed);
      await this.#createPod(index, true);
    } else {
      if (!this.#isUnready.delete(index)) this.#isUnready.add(index);
      await this.#tellStatus(index);
    }
    // A pod is an endpoint of the Service of its number, as #ends has it.
    const { services } = this.#size;
    if (services > 0) await this.#writeSlice(index % services);
  }

  /** What a kubelet writes of its node at least every five minutes. */
  heartbeat(index: number): Promise<void> {
    return this.#heartbeat(index);
  }

  /** Takes everything away. */
  async clear(): Promise<void> {
    const now = '?gracePeriodSeconds=0';
    this.#progress('taking everything away');
    for (const path of [SLICES, `${IN_NAMESPACE}/pods`]) await this.#deleteAll(`${path}${now}`);
    await inParallel(this.#size.services, (index) =>
      this.#api.call('DELETE', `${IN_NAMESPACE}/services/${objects.serviceName(index)}`).catch(unlessGone),
    );
    await this.#deleteAll(`/api/v1/nodes?labelSelector=${encodeURIComponent('ktrace.dev/scale=yes')}`);
    await this.#api.call('DELETE', `/api/v1/namespaces/${NAMESPACE}`);
  }

  /** As often as it takes: the API server gives up, or hangs up, on more objects than it deletes in a minute, and has deleted those. */
  async #deleteAll(path: string): Promise<void> {
    for (let triesLeft = DELETE_TRIES; ; triesLeft -= 1) {
      try {
        await this.#api.call('DELETE', path);
        return;
      } catch (error) {
        const isRefused = error instanceof ApiFailure && error.status !== 504;
        if (triesLeft === 0 || isRefused) throw error;
      }
    }
  }

  async #each(what: string, from: number, to: number, job: (index: number) => Promise<unknown>): Promise<void> {
    if (to <= from) return;
    const startMs = performance.now();
    await inParallel(to - from, (at) => job(from + at));
    this.#progress(`${to - from} ${what} written in ${((performance.now() - startMs) / 1000).toFixed(0)} s`);
  }

  async #createPod(index: number, withStatus: boolean): Promise<void> {
    await this.#api.call('POST', `${IN_NAMESPACE}/pods`, objects.pod(index, this.#nodeOf(index)));
    if (withStatus) await this.#tellStatus(index);
  }

  async #deletePod(index: number): Promise<void> {
    await this.#api.call('DELETE', `${IN_NAMESPACE}/pods/${objects.podName(index)}?gracePeriodSeconds=0`);
  }

  async #tellStatus(index: number): Promise<void> {
    const status = objects.podStatus(index, this.#ipOf(index), !this.#isUnready.has(index));
    await this.#api.call('PATCH', `${IN_NAMESPACE}/pods/${objects.podName(index)}/status`, status, PATCH);
  }

  async #writeSlice(index: number): Promise<void> {
    await this.#api.call('PUT', `${SLICES}/${objects.sliceName(index)}`, objects.slice(index, this.#ends(index)));
  }

  async #heartbeat(index: number): Promise<void> {
    await this.#api.call(
      'PATCH',
      `/api/v1/nodes/${objects.nodeName(index)}/status`,
      objects.nodeStatus(index, new Date()),
      PATCH,
    );
  }

  /** The endpoints of a Service: every so-manieth pod. Beyond the pods that are on the server, some that are not. */
  #ends(service: number): objects.End[] {
    const { services, endpoints } = this.#size;
    const ends: objects.End[] = [];
    for (let index = service; index < endpoints; index += services) {
      const podUid = objects.uid(`pod ${this.#incarnations.get(index) ?? 0}`, index);
      const [podName, node] = [objects.podName(index), this.#nodeOf(index)];
      ends.push({ ip: this.#ipOf(index), podName, podUid, node, isReady: !this.#isUnready.has(index) });
    }
    return ends;
  }

  #ipOf(index: number): string {
    const incarnation = this.#incarnations.get(index);
    return incarnation === undefined ? objects.podIp(index) : objects.laterPodIp(incarnation);
  }

  /** The first pods are the own node's; the others are spread over as many nodes as any size has. */
  #nodeOf(index: number): string {
    return index < this.#ownPods ? OWN_NODE : objects.nodeName(1 + (index % LEAST_NODES));
  }
}

function unlessGone(error: unknown): undefined {
  if (!(error instanceof ApiFailure && error.status === 404)) throw error;
}

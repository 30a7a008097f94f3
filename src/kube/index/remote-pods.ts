import type { EndpointFact } from './facts.ts';
import type { NamedPod } from './pod-records.ts';

/** A pod of another node at one of its addresses, as EndpointSlices name it. The same object for all slices that do. */
export interface RemotePod {
  readonly ip: string;
  readonly node: string | undefined;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Since when it has its address, Unix milliseconds. */
  readonly fromMs: number;
  /** How many endpoints it stands for. */
  endpoints: number;
  /** Where it is kept in full. */
  record: NamedPod | undefined;
}

export type RemotePodFact = Omit<EndpointFact, 'isReady'> & { pod: NonNullable<EndpointFact['pod']> };

/**
 * Pods of other nodes that nobody has asked for: nearly all of a cluster's. Each is one object until its address is looked up
 * or changes hands, and takes a quarter of the memory of a pod with its history.
 */
export class RemotePods {
  readonly #byIp = new Map<string, RemotePod>();

  get size(): number {
    return this.#byIp.size;
  }

  at(ip: string): RemotePod | undefined {
    return this.#byIp.get(ip);
  }

  add(fact: RemotePodFact, fromMs: number): RemotePod {
    const pod = remotePod(fact, fromMs, undefined);
    this.#byIp.set(fact.ip, pod);
    return pod;
  }

  /** Takes it out, for it is kept in full from now on or over. */
  take(pod: RemotePod): void {
    this.#byIp.delete(pod.ip);
  }
}

/** One that stands for one endpoint. */
export function remotePod({ ip, node, pod }: RemotePodFact, fromMs: number, record: NamedPod | undefined): RemotePod {
  const { namespace, name, uid } = pod;
  return { ip, node, namespace, name, uid, fromMs, endpoints: 1, record };
}

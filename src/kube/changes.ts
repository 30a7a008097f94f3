import type { PodRef } from '../event/types.ts';

/** One change of an index. `ips`: the addresses whose owner may be another one now. */
export type Change =
  /** A pod of this node, as it was and as it is; one of the two where it came or went. */
  | { kind: 'pod'; pods: readonly PodRef[]; ips: readonly string[] }
  /** `namespace/name`. */
  | { kind: 'service'; service: string; ips: readonly string[] }
  /** Of these Services, `namespace/name`. `ips`: of the endpoints that came, went, or are another pod's. */
  | { kind: 'endpoints'; services: readonly string[]; ips: readonly string[] }
  | { kind: 'node'; node: string; ips: readonly string[] }
  /** This node's interfaces have got or lost these addresses. */
  | { kind: 'own-addresses'; ips: readonly string[] }
  /** All objects of a kind were listed anew: anything may be another one. */
  | { kind: 'list' };

/** So much is kept of what has changed; beyond that anything may have. */
const MOST_CHANGES = 16_384;

/** What has changed since some moment: many changes as one, of bounded size. */
export class Changes {
  /** Anything may have changed; the rest says nothing then. */
  isEverything = false;
  /** This node's, as they were and as they are. */
  readonly pods = new Set<PodRef>();
  /** Services that are others, came or went. */
  readonly services = new Set<string>();
  /** Services whose endpoints are others. */
  readonly endpoints = new Set<string>();
  readonly nodes = new Set<string>();
  readonly ownAddresses = new Set<string>();
  /** All addresses whose owner may be another one. */
  readonly ips = new Set<string>();

  add(change: Change): void {
    if (this.isEverything) return;
    if (change.kind === 'list') {
      this.#addEverything();
      return;
    }
    for (const ip of change.ips) this.ips.add(ip);
    switch (change.kind) {
      case 'pod':
        for (const pod of change.pods) this.pods.add(pod);
        break;
      case 'service':
        this.services.add(change.service);
        break;
      case 'endpoints':
        // Without addresses it is their readiness or ports: they are the same endpoints.
        if (change.ips.length > 0) for (const service of change.services) this.endpoints.add(service);
        break;
      case 'node':
        this.nodes.add(change.node);
        break;
      default:
        for (const ip of change.ips) this.ownAddresses.add(ip);
    }
    if (this.#sets().some(({ size }) => size > MOST_CHANGES)) this.#addEverything();
  }

  #addEverything(): void {
    this.isEverything = true;
    for (const set of this.#sets()) set.clear();
  }

  #sets(): Set<unknown>[] {
    return [this.pods, this.services, this.endpoints, this.nodes, this.ownAddresses, this.ips];
  }
}

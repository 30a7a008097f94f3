import type { PodRef } from '../../event/types.ts';

/** One change of an index. `ips`: addresses that may have another owner now. */
export type Change =
  /** A pod of this node: before and after the change; only one of the two when it was added or removed. */
  | { kind: 'pod'; pods: readonly PodRef[]; ips: readonly string[] }
  /** `service`: `namespace/name`. */
  | { kind: 'service'; service: string; ips: readonly string[] }
  /** `services`: `namespace/name`. `ips`: of endpoints that were added, removed, or belong to another pod now; empty for ports and readiness. */
  | { kind: 'endpoints'; services: readonly string[]; ips: readonly string[] }
  | { kind: 'node'; node: string; ips: readonly string[] }
  /** Addresses that this node's interfaces got or lost. */
  | { kind: 'own-addresses'; ips: readonly string[] }
  /** All objects of a kind were listed again: anything may have changed. */
  | { kind: 'list' };

/** Objects and addresses kept of each kind. With more, everything counts as changed. */
const MOST_CHANGES = 16_384;

/** Several changes taken together, in bounded memory. */
export class Changes {
  /** Anything may have changed. The sets are empty then. */
  isEverything = false;
  /** Pods of this node, before and after their changes. */
  readonly pods = new Set<PodRef>();
  /** `namespace/name` of Services that were added, removed or changed. */
  readonly services = new Set<string>();
  /** `namespace/name` of Services with other endpoints; not for their ports or readiness. */
  readonly endpoints = new Set<string>();
  readonly nodes = new Set<string>();
  readonly ownAddresses = new Set<string>();
  /** Addresses that may have another owner now. */
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

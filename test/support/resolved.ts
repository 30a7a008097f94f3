import type { ResolvedTargets } from '../../src/kube/targets.ts';

/** What targets stand for where a test says so; only a change of everything touches it. */
export function resolvedTo(more: Partial<ResolvedTargets> = {}): ResolvedTargets {
  return {
    pods: [],
    addresses: [],
    ownAddresses: [],
    serviceAddresses: [],
    unresolved: [],
    basis: {
      nodes: new Set(),
      isOwnNode: false,
      isMeant: () => false,
      services: new Set(),
      servicesBehind: new Set(),
      passedOver: new Set(),
      hasNodePorts: false,
    },
    ...more,
  };
}

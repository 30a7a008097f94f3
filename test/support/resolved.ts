import type { ResolvedTargets } from '../../src/kube/targets.ts';

type Resolved = Omit<ResolvedTargets, 'unresolved'>;

/** What targets stand for where a test says so; only a change of everything touches it. */
export function resolvedTo(more: Partial<Resolved> = {}): Resolved {
  return {
    pods: [],
    addresses: [],
    ownAddresses: [],
    serviceAddresses: [],
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

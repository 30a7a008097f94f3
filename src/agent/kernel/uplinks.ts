import type { Address, Link } from '../../native/types.ts';

const ARPHRD_ETHER = 1;
/** One device over several, or a share of one: they are uplinks where they have an address. Empty: hardware. */
const UPLINK_KINDS = new Set(['', 'bond', 'team', 'vlan']);
/** What a device of these kinds receives was received by its lower device before, as the same packet. */
const STACKED_KINDS = new Set(['vlan', 'macvlan', 'ipvlan']);

export interface UplinkFacts {
  /** By index. */
  links: ReadonlyMap<number, Link>;
  addresses: readonly Address[];
  /** Interfaces of the default routes. */
  defaultRoutes: readonly number[];
  /** The node's addresses as Kubernetes has them. */
  nodeAddresses: ReadonlySet<string>;
}

/**
 * The interfaces by which packets come to the node and leave it: those of the default routes and of the node's own addresses, and every network card,
 * bond, team and VLAN with an address of more than its link (EKS' secondary interfaces, a network of its own for storage). Of those that lie on
 * one another it is the lowest: a packet's way on the node begins once.
 */
export function uplinksOf({ links, addresses, defaultRoutes, nodeAddresses }: UplinkFacts): Set<number> {
  const uplinks = new Set(defaultRoutes);
  for (const { ip, ifindex } of addresses) {
    if (nodeAddresses.has(ip) || (!/^fe80:/i.test(ip) && isUplinkKind(links.get(ifindex)))) uplinks.add(ifindex);
  }
  return new Set([...uplinks].filter((ifindex) => !liesOnOne(links.get(ifindex), links, uplinks)));
}

function isUplinkKind(link: Link | undefined): boolean {
  if (link === undefined || link.arpType !== ARPHRD_ETHER || link.master !== 0) return false;
  // What leads into another namespace is a pod's or a container's, but for a VLAN, whose lower device may be there.
  return UPLINK_KINDS.has(link.kind) && (link.linkNetnsId < 0 || link.kind === 'vlan');
}

/** Whether a device below this one, in this namespace, is an uplink as well. */
function liesOnOne(link: Link | undefined, links: ReadonlyMap<number, Link>, uplinks: ReadonlySet<number>): boolean {
  const seen = new Set<number>();
  for (let at = link; at !== undefined && STACKED_KINDS.has(at.kind) && at.linkNetnsId < 0 && !seen.has(at.ifindex); ) {
    seen.add(at.ifindex);
    if (uplinks.has(at.link) && at.link !== at.ifindex) return true;
    at = links.get(at.link);
  }
  return false;
}

import type { PodRef, ServiceRef } from '../../event/types.ts';

/** Whom an address belonged to at a time. */
export type Owner = { kind: 'pod'; pod: PodRef } | { kind: 'service'; service: ServiceRef } | { kind: 'node'; node: string };

/** The pod that an interface leads to, and the addresses that the interface has inside of it. */
export interface PodBehind {
  pod: PodRef;
  ips: readonly string[];
}

/** Where an address lies, seen from some namespaces; `unknown`: nobody who can be trusted says whose it is. */
export type Place = 'inside' | 'outside' | 'unknown';

/** How kube-proxy writes its rules; `none` is a cluster without it (its work is done by somebody else). */
export type ProxyMode = 'iptables' | 'nftables' | 'ipvs' | 'none';

export type L4 = 'tcp' | 'udp' | 'sctp';

/** A Service's port as a packet can be addressed to it. One object as long as nothing about it changes. */
export interface ServicePort {
  service: ServiceRef;
  /** ClusterIP, external IP, load-balancer IP, or a node's address with the node port. */
  via: 'cluster-ip' | 'external-ip' | 'load-balancer-ip' | 'node-port';
  proto: L4;
  /** `internalTrafficPolicy: Local`. */
  localInside?: true;
  /** `externalTrafficPolicy: Local`. */
  localOutside?: true;
  /** `loadBalancerSourceRanges` is set. */
  sourceRanges?: true;
  /** `sessionAffinity: ClientIP`. */
  affinity?: true;
}

/** One address and port under which a followed pod can be reached before translation. */
export interface ServiceAddress {
  ip: string;
  port: number;
  proto: L4;
}

/** Answers by name, for a moment in time. Times are Unix milliseconds. */
export interface Names {
  /**
   * Whom an address belonged to. An address that nobody owns any more stays with its last owner for 15 minutes, or until
   * it is given to somebody else. Undefined: nobody in the cluster (`world`) as far as this agent knows.
   */
  ownerOf(ip: string, timeMs: number): Owner | undefined;
  /** The Service port that answers under ip:port; node ports on every node address. */
  servicePort(ip: string, port: number, proto: string, timeMs: number): ServicePort | undefined;
  /** Whether pods get their addresses from this range: an unknown owner there is a pod not known here, not the world. */
  isClusterAddress?(ip: string): boolean;
  /** Which chains a translation has walked; none are told while it is not known. */
  readonly proxyMode?: ProxyMode | undefined;
}

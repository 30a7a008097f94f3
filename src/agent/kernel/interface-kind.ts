import type { InterfaceKind } from '../../flow/open-packet.ts';
import type { Link } from '../../native/types.ts';

const ARPHRD_LOOPBACK = 772;
/** Bridges of the pod networks that the design names; any other bridge counts when a pod's interface is enslaved to it. */
const BRIDGES = /^(cni\d+|cbr\d+|docker\d+|br-[0-9a-f]{12}|weave|kube-bridge|mynet\d*)$/;
const TUNNELS =
  /^(flannel\.\d+|flannel-v6\.\d+|flannel\d+|tunl\d+|vxlan\.calico|vxlan-v6\.calico|vxlan-\d+|cilium_vxlan|wireguard\.cali|flannel-wg(-v6)?)$/;
const IP_TUNNEL_KINDS = new Set(['ipip', 'sit', 'ip6tnl']);
const TUNNEL_KINDS = new Set(['vxlan', 'ipip', 'sit', 'ip6tnl', 'geneve', 'wireguard']);
/** Calico builds a pod's interface under this name first, and Weave's and docker's own plumbing is no pod's. */
const NEVER = /^calico_tmp_[AB]$/;
const POD_NAMES = /^(veth|cali[0-9a-f]{11}$|eni[0-9a-f]|gke[0-9a-f]|lxc|tap[0-9a-f]{8}|azv|weave-pod|nic-)/;
/** Weave's pair between its bridge and its datapath: both ends in the host, no pod behind. */
const WEAVE_PLUMBING = /^vethwe-/;

/**
 * What an interface is to the pod network, or undefined when it is nothing to it. What leads into another network namespace is a pod's, whatever
 * its name — but for the uplink, which does so too where nodes are namespaces themselves.
 */
export function interfaceKind(
  link: Link,
  context: { uplinks: ReadonlySet<number>; podMasters: ReadonlySet<number> },
): InterfaceKind | undefined {
  if (link.arpType === ARPHRD_LOOPBACK || NEVER.test(link.name)) return undefined;
  if (context.uplinks.has(link.ifindex)) return 'uplink';
  if (TUNNELS.test(link.name) || TUNNEL_KINDS.has(link.kind)) return 'tunnel';
  if (WEAVE_PLUMBING.test(link.name)) return 'bridge';
  if (link.linkNetnsId >= 0 && hasPeer(link)) return 'pod';
  if (link.kind === 'bridge') return BRIDGES.test(link.name) || context.podMasters.has(link.ifindex) ? 'bridge' : undefined;
  return POD_NAMES.test(link.name) && link.linkNetnsId >= 0 ? 'pod' : undefined;
}

/** True of a device that puts IP into IP, without anything between. */
export function isIpTunnel({ kind }: Link): boolean {
  return IP_TUNNEL_KINDS.has(kind);
}

/** True for a pair's end: its driver's private part begins with the other end (`struct veth_priv`, `struct netkit`), null where there is none. */
export function hasPeer({ kind }: Link): boolean {
  return kind === 'veth' || kind === 'netkit';
}

/** True when packets begin with an Ethernet header: all but tun, IPIP and the like. */
export function hasLinkLayer(link: Link): boolean {
  const ARPHRD_ETHER = 1;
  return link.arpType === ARPHRD_ETHER;
}

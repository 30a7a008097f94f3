/**
 * The one JSON shape of ktrace (`-o json`, the websocket, dumps): one object a line, discriminated by `kind`.
 * `docs/events.md` describes every field for readers; text output is derived from these and never knows more.
 */
import type { Target } from './target.ts';

/** A pod as an endpoint's owner. `labels` and `owner` are as they were at the packet's time. */
export interface PodRef {
  namespace: string;
  name: string;
  uid: string;
  /**
   * Of a pod that was told on its own node, `{}` when it has none. Absent: an EndpointSlice names the address so, and who may write one in the
   * pod's namespace could have made it up.
   */
  labels?: Record<string, string>;
  /** The workload, `Kind/name`, e.g. `Deployment/frontend`; absent for a bare pod. */
  owner?: string;
  node?: string;
  /** RFC 3339: since when the address was not the pod's any more, nor anybody's, at the packet's time. */
  gone?: string;
}

/** A Service's port. `port` is the port's name, empty when it has none. */
export interface ServiceRef {
  namespace: string;
  name: string;
  port: string;
}

/** One end of a packet. At most one of `pod`, `service`, `node`, `world` says whom it belongs to. */
export interface Endpoint {
  /** Canonical text of an IPv4 or IPv6 address (IPv4 is never written as mapped IPv6). */
  ip: string;
  /** Absent for protocols without ports and for ICMP. */
  port?: number;
  pod?: PodRef;
  service?: ServiceRef;
  /** The node's name: one of its own addresses, hostNetwork pods included. */
  node?: string;
  /** Nobody in the cluster owns it. */
  world?: true;
}

/** Where in netfilter a packet was rewritten: the destination before routing, the source after it, with hooks of their own for what the node itself sends (`output`) or takes in (`input`). */
export type NatHook = 'prerouting' | 'output' | 'postrouting' | 'input';

/** What NAT did to a packet. For a reply it is the way back: `before` is what the packet carried, `after` what it got. */
export interface Translation {
  /** `dnat`: the flow's destination was rewritten (on a reply: its source, back). `snat`: the flow's source (on a reply: its destination, back). */
  kind: 'dnat' | 'snat';
  before: Endpoint;
  after: Endpoint;
  /** `namespace/name` or `namespace/name:port`, for a Service's translation. */
  service?: string;
  /** kube-proxy's chains in the order a packet walks them, computed, e.g. `KUBE-SVC-…`, `KUBE-SEP-…`. */
  chains?: string[];
  /** `kprobe`: the kernel's function that rewrites packets was seen at this one. `conntrack`: read off the connection's entry. */
  seenBy: 'kprobe' | 'conntrack';
  /** `kprobe` only; not of conversations, nor of what an ICMP error is about. */
  hook?: NatHook;
  /** `kprobe` only: when, in nanoseconds since the packet's `time`; negative for one that the node itself sends, before its first hop. */
  atNs?: number;
  /**
   * Of a connection's first packet, where the kernel's function was seen: when the connection entered conntrack's table with this translation, in
   * nanoseconds since the packet's `time`.
   */
  confirmedAtNs?: number;
}

export type TunnelKind = 'vxlan' | 'ipip' | 'geneve';

export interface Tunnel {
  kind: TunnelKind;
  /** VXLAN and Geneve only. */
  vni?: number;
  src: string;
  dst: string;
}

/** A sighting as a person reads it. */
export interface Hop {
  node: string;
  /** Interface name, `#7` when it is not known, `pod` where it is withheld: a pod's that the reader may not see. */
  if: string;
  /** The pod that the interface leads to, `namespace/name`; empty when it is not known which. Absent: it leads to none. */
  pod?: string;
  /** As the host sees it: `in` is received from the interface, `out` is sent to it. */
  dir: 'in' | 'out';
  /** Nanoseconds since the packet's `time`. */
  atNs: number;
  tunnel?: Tunnel;
  /** Base64 of the captured bytes from L3, only when asked for. */
  data?: string;
}

export interface TcpFacts {
  /** Subset of `SFRPAUEC` letters in the order F S R P A U E C as tcpdump writes them without the dot: `S`, `SA`, `A`, `PA`, `FA`, `R`, `RA`. */
  flags: string;
  seq: number;
  ack: number;
}

/** The packet that an ICMP error is about: as its sender sent it, where its translation is known, else as the error quotes it. */
export interface QuotedFlow {
  proto: string;
  src: Endpoint;
  dst: Endpoint;
  /** Of an echo. */
  id?: number;
  seq?: number;
  /** Whose packet it was in its conversation; absent where that is not known. */
  dir?: 'request' | 'reply';
  /** What NAT had done to it. */
  nat?: Translation[];
}

/** Who made an ICMP error. */
export interface IcmpOrigin {
  node: string;
  /** The interface that refused the packet; for one that is too big, the one it does not fit through. */
  if?: string;
  /** As that of a hop. */
  pod?: string;
  /**
   * `kprobe`: the kernel was seen making it. `address`: told from the error's source, which is an address of this interface. `way`: its way begins on
   * this node, no interface brought it.
   */
  seenBy: 'kprobe' | 'address' | 'way';
}

export interface IcmpFacts {
  type: number;
  code: number;
  /** Name as IANA has it in kebab-case, e.g. `echo-request`, `port-unreachable`, `time-exceeded`. */
  name: string;
  /** Echo only: the requester's, also where the packet carried another one that masquerade gave it. */
  id?: number;
  /** Echo only. */
  seq?: number;
  /** On an echo reply: microseconds from the request's first hop on this node to the reply's last. */
  rttUs?: number;
  /** Fragmentation needed / packet too big: the MTU it says. */
  mtu?: number;
  /** ICMP errors: the packet it is about. */
  about?: QuotedFlow;
  /** ICMP errors: who made it. */
  by?: IcmpOrigin;
}

export interface Drop {
  /** Name from the running kernel's `enum skb_drop_reason`, e.g. `NETFILTER_DROP`. */
  reason: string;
  /** Symbol where it happened, or `unknown` where the kernel has no name for it. */
  at: string;
  /** Interface, when the packet had one. */
  if?: string;
  /** As that of a hop. */
  pod?: string;
}

/** Neither an answer nor an ICMP error about it came, and nothing was seen dropping it. */
export interface Unanswered {
  /** Within so many milliseconds. */
  ms: number;
  /** Of a SYN: how often it was sent again in that time; absent for never. */
  retransmissions?: number;
}

export type Verdict = 'forwarded' | 'delivered' | 'dropped' | 'answered' | 'unknown';

/** One packet's way. An agent tells its node's part, the client joins the parts. */
export interface PacketEvent {
  v: 1;
  kind: 'packet';
  id: string;
  /** This tells more about an earlier record with the same `id`, and replaces it. */
  amends?: true;
  /** UTC, nanoseconds: when it was first seen. */
  time: string;
  nodes: string[];
  /** `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, or the IP protocol number in decimal. */
  proto: string;
  /** L3 length in bytes of the packet itself (inner, when tunnelled). */
  len: number;
  /** More than one packet on the wire, merged by GSO/GRO. */
  segments?: number;
  /** `request` is the initiator's direction, by conntrack or by first seen. */
  dir: 'request' | 'reply';
  /** A later fragment: no L4 header; ports are those of its flow where they were learned. */
  fragment?: { id: number; offset: number; more: boolean };
  src: Endpoint;
  dst: Endpoint;
  /** The tag that its frame has (IEEE 802.1Q) where it is first seen with one, outside a tunnel. */
  vlan?: { id: number };
  /** Of a capture file: fewer bytes were captured than its headers have. What is missing is empty, 0 or absent. */
  cut?: true;
  tcp?: TcpFacts;
  icmp?: IcmpFacts;
  /** In the order they were seen to happen. */
  nat?: Translation[];
  hops: Hop[];
  drop?: Drop;
  /** On an echo request, a SYN or a query that is told again (`amends`). */
  unanswered?: Unanswered;
  verdict: Verdict;
  /** Between agent and client only: what this node's part says to the terms of the follow's filter, see `src/filter/evaluate/judged.ts`. */
  judged?: string;
  /** Between agent and client only: up to here, from the IP header on, the follow's filter reads; the packet goes so far, what was captured does not. */
  wantsBytes?: number;
  /**
   * In recordings, dumps and where a follower asks for it, and never printed: base64 of the packet's first bytes from the IP header to the end of
   * the L4 header.
   */
  headers?: string[];
  /** The same for the same packet on every node, whatever NAT did on its way: joins the nodes' parts. */
  fingerprint: string;
}

export interface Counts {
  request: number;
  reply: number;
}

/** A conversation, counted in the kernel at a pod's own interface. */
export interface FlowEvent {
  v: 1;
  kind: 'flow';
  id: string;
  state: 'open' | 'update' | 'close';
  node: string;
  proto: string;
  src: Endpoint;
  dst: Endpoint;
  nat?: Translation[];
  packets: Counts;
  bytes: Counts;
  /** The kernel's table had no room for it: `packets` and `bytes` say nothing. Not with `open`. */
  counted?: false;
  startTime: string;
  endTime: string;
  /** As that of a packet. */
  judged?: string;
}

export type LostStage =
  | 'kernel-ring'
  | 'flow-table'
  | 'pod-rate'
  | 'kernel-recursion'
  | 'client-socket'
  | 'recorder'
  | 'recorder-share';

/** Sightings or records that did not reach the reader. */
export interface LostEvent {
  v: 1;
  kind: 'lost';
  node: string;
  stage: LostStage;
  /** `pod-rate`, `recorder-share`: whose packets they were, where that is known. */
  pod?: PodRef;
  count: number;
  from: string;
  to: string;
}

/** Something the reader must know about the tracing itself. `code` is documented in `docs/errors.md`. */
export interface NoticeEvent {
  v: 1;
  kind: 'notice';
  /** Absent when the client itself says it. */
  node?: string;
  level: 'info' | 'warn' | 'error';
  code: `KTRACE_N_${string}`;
  text: string;
  /** Pods' interfaces that it is about, the first hundred. Withheld from who may not see all pods. */
  interfaces?: string[];
  /** With KTRACE_N_FOLLOWING. */
  following?: FollowedPods;
}

/** What a follow's targets stand for, from a moment on when all agents that answer follow it. */
export interface FollowedPods {
  podCount: number;
  /** Of the pods, and of Services and nodes that are targets. */
  addressCount: number;
  /** The first hundred. */
  pods: { namespace: string; name: string; uid: string }[];
  /** Nodes whose agents follow them, and those that are not reached or refuse. */
  nodes: string[];
  missing: string[];
  /** Targets for which no agent of `nodes` knows an object; absent when there are none. */
  unresolved?: Target[];
}

export type KtraceEvent = PacketEvent | FlowEvent | LostEvent | NoticeEvent;

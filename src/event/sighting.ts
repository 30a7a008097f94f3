/**
 * A sighting: one packet seen at one kernel hook, as decoded from `struct ktrace_sighting` (bpf/base/event.h).
 * Times and other 64-bit kernel values are bigint. Addresses are canonical text.
 */

import type { NatHook, TunnelKind } from './types.ts';

/** Addresses and ports of one direction. For ICMP echo: `sport` is the id, `dport` is 0. */
export interface Tuple {
  src: string;
  dst: string;
  sport: number;
  dport: number;
}

export interface ConntrackSeen {
  /** Tuple of the flow's first packet, before translation. */
  original: Tuple;
  /** Tuple of a reply as it comes in, before it is translated back. */
  reply: Tuple;
  /** `enum ip_conntrack_status` bits. */
  status: number;
  /** Direction of this packet. */
  isReply: boolean;
  /** Not attached to the packet here, but learned at an earlier hook. */
  remembered: boolean;
}

/** What the stack does with a packet between its interfaces, seen by fentry or kprobe: no hops. */
export type StackHook = 'nat' | 'confirmed' | 'icmp-sent' | 'icmp-received' | 'echo-answered';

/** `hook`: undefined where it is known to be none of netfilter's. */
export interface Rewrite {
  end: 'source' | 'destination';
  hook: NatHook | undefined;
}

export interface Sighting {
  /** CLOCK_MONOTONIC. */
  timeNs: bigint;
  /** Address of the sk_buff, its low 53 bits; identity within a node and moment only. */
  skb: number;
  /** Inode of the network namespace where the hook ran. */
  netns: number;
  /** 0: no device. */
  ifindex: number;
  hook: 'tc-in' | 'tc-out' | 'drop' | StackHook;
  /** Matched only by a Service's address so far: joined later by identity, or discarded. */
  provisional: boolean;
  /** Sent only because every packet was asked for: says nothing new about its flow. */
  nothingNew: boolean;
  /** This hook is where a packet's way on this node begins: a pod's interface or the uplink, where it comes in. */
  entry: boolean;
  /** L3 length in bytes (inner when tunnelled). */
  len: number;
  gsoSegs: number;
  /** 4 or 6. */
  ipVersion: number;
  /** IP protocol number. */
  proto: number;
  tuple: Tuple;
  /** IPv4 identification (or IPv6 fragment id); 0 when there is none. */
  ipId: number;
  fragment: { offset: number; more: boolean } | undefined;
  tcp: { flags: number; seq: number; ack: number } | undefined;
  icmp: { type: number; code: number; id: number; seq: number; mtu: number } | undefined;
  /** The flow an ICMP error quotes; `seq` of an echo. */
  quoted: { proto: number; tuple: Tuple; seq?: number } | undefined;
  conntrack: ConntrackSeen | undefined;
  tunnel: { kind: TunnelKind; vni: number; src: string; dst: string } | undefined;
  /** The tag of the frame (IEEE 802.1Q), of a tunnel's packet that of the outer one. */
  vlan: { id: number } | undefined;
  drop: { reason: number; location: bigint } | undefined;
  /** `nat`, and no ICMP error: which end is about to be rewritten, and where; `conntrack` says to what. */
  rewrite: Rewrite | undefined;
  /** `icmp-sent`: the error that is about to be made; the packet is the one that it is about. */
  sent: { type: number; code: number; mtu: number } | undefined;
  /** Hash of the first payload bytes. */
  payloadHash: number;
  /** Captured bytes from L3 (of the packet itself, inner when tunnelled); empty where nobody asks for them. */
  data: Uint8Array;
  /** So many of them are headers; what follows is there because a follower may see it, and for that one alone. */
  headerBytes: number;
}

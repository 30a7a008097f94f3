/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * The record that the kernel side emits, shared by all layers above. The TypeScript layout (src/event/layout.ts) is generated from the BTF of
 * the object these types are compiled into and committed; the addon refuses an object of another layout (KTRACE_LAYOUT_VERSION).
 */
#ifndef KTRACE_EVENT_H
#define KTRACE_EVENT_H

#define KTRACE_LAYOUT_VERSION 12

/* Bytes captured from L3, at most: of the headers, and when a follower has asked for more. */
enum ktrace_capture {
	KTRACE_CAPTURE_HEADERS = 128,
	KTRACE_CAPTURE_MOST = 1500,
};

/* Places in the map of bodies. */
enum ktrace_body {
	KTRACE_BODY_IN = 0,
	KTRACE_BODY_OUT = 1,
	KTRACE_BODY_L3_IN = 2,
	KTRACE_BODY_L3_OUT = 3,
	KTRACE_BODY_TOLD = 4,
	KTRACE_BODY_UNTOLD = 5,
	KTRACE_BODY_TAGGED_IN = 6,
	KTRACE_BODY_TAGGED_OUT = 7,
	KTRACE_BODY_UNTOLD_FLOW = 8, /* as untold, and so are the other packets of its flow */
	KTRACE_BODY_CLOSE_IN = 9, /* what is not counted and done with: looked at closely, for all kinds of frames */
	KTRACE_BODY_CLOSE_OUT = 10,
};

enum ktrace_hook {
	KTRACE_HOOK_TC_IN = 1,
	KTRACE_HOOK_TC_OUT = 2,
	KTRACE_HOOK_DROP = 3,
	/* In the stack, by fentry or kprobe: a packet is about to be rewritten by NAT, or an ICMP error with what it quotes. */
	KTRACE_HOOK_NAT = 4,
	/* An ICMP error is about to be made: the packet is the one it is about, icmp_type, icmp_code and icmp_mtu are the error's. */
	KTRACE_HOOK_ICMP_SENT = 5,
	KTRACE_HOOK_ICMP_RECEIVED = 6,
	KTRACE_HOOK_ECHO_ANSWERED = 7,
	/* The connection of the packet, its first, enters conntrack's table with a translation. */
	KTRACE_HOOK_CONFIRMED = 8,
};

/* ktrace_sighting.flags */
enum ktrace_flags {
	KTRACE_PROVISIONAL = 1 << 0, /* not told by itself: matched by a Service's address alone, or see entered.h */
	KTRACE_ENTRY = 1 << 1, /* the packet's way on this node begins here */
	KTRACE_FRAGMENT = 1 << 2, /* fragment fields are set */
	KTRACE_MORE_FRAGMENTS = 1 << 3,
	KTRACE_CONNTRACK = 1 << 4, /* conntrack tuples are set */
	KTRACE_CT_REPLY = 1 << 5, /* this packet is of the reply direction */
	KTRACE_QUOTED = 1 << 6, /* an ICMP error: quoted is set */
	KTRACE_NAT_LOCAL = 1 << 7, /* KTRACE_HOOK_NAT: at the hook of what the node sends or takes in itself */
	KTRACE_L4 = 1 << 8, /* ports, TCP or ICMP fields are set */
	KTRACE_CT_REMEMBERED = 1 << 9, /* conntrack was not attached here: learned at an earlier hook */
	KTRACE_NOTHING_NEW = 1 << 10, /* sent only because every packet was asked for */
	KTRACE_NAT_SOURCE = 1 << 11, /* KTRACE_HOOK_NAT: the source is rewritten, else the destination */
	KTRACE_EVERY = 1 << 12, /* a follower of one of its ends asked for every packet */
	KTRACE_SNAP = 1 << 13, /* one asked for more than the headers */
	KTRACE_VLAN = 1 << 14, /* vlan_tci is set: the frame, of a tunnel's packet the outer one, has a tag */
	KTRACE_NAT_UNHOOKED = 1 << 15, /* KTRACE_HOOK_NAT: at none of netfilter's hooks */
};

enum ktrace_tunnel {
	KTRACE_TUNNEL_NONE = 0,
	KTRACE_TUNNEL_VXLAN = 1,
	KTRACE_TUNNEL_IPIP = 2,
	KTRACE_TUNNEL_GENEVE = 3,
};

/* Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; ports in host order. ICMP echo: sport is the id, dport 0. */
struct ktrace_tuple {
	__u32 src[4];
	__u32 dst[4];
	__u16 sport;
	__u16 dport;
};

struct ktrace_sighting {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 skb; /* address of the sk_buff */
	__u64 drop_location;
	__u32 drop_reason;
	__u32 netns; /* inode */
	__u32 ifindex;
	__u32 len; /* L3 length, inner when tunnelled */
	__u32 flags;
	__u32 ct_status;
	__u32 payload_hash;
	__u32 tcp_seq;
	__u32 tcp_ack;
	__u32 ip_id;
	__u32 tunnel_vni;
	__u16 gso_segs;
	__u16 fragment_offset; /* bytes */
	__u16 icmp_id;
	__u16 icmp_seq; /* of an error: that of the echo it quotes */
	__u16 icmp_mtu;
	__u16 data_len; /* valid bytes of data */
	__u16 headers_len; /* the first of them, which are captured for every follower */
	__u8 hook;
	__u8 ip_version;
	__u8 proto;
	__u8 quoted_proto;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 tcp_flags;
	__u8 tunnel_kind;
	__u16 vlan_tci; /* priority and id, IEEE 802.1Q */
	struct ktrace_tuple tuple; /* as the packet is at this hook */
	struct ktrace_tuple ct_original;
	struct ktrace_tuple ct_reply;
	struct ktrace_tuple quoted;
	__u32 tunnel_src[4];
	__u32 tunnel_dst[4];
	__u8 data[KTRACE_CAPTURE_HEADERS]; /* of a record as many as are valid, which may be more */
};

/* What a filter's program reads. */
struct ktrace_filtered {
	struct ktrace_sighting sighting;
	__u8 more[KTRACE_CAPTURE_MOST - KTRACE_CAPTURE_HEADERS]; /* its data goes on here */
	__u32 flow_is_new; /* the packet opens its flow at this hook */
	__u32 generation; /* of the target set, from before the packet was matched: it may be another one afterwards, and so may the filter */
};

/*
 * Key of the flow table: one direction of a conversation. All hooks that it passes on the node share an entry. own_hook: 0 in that one; where the flow
 * passes a second interface of a kind in one direction, the second has an entry of its own, under the number of its hook.
 */
struct ktrace_flow_key {
	struct ktrace_tuple tuple;
	__u32 own_hook;
	__u8 proto;
	__u8 pad[3];
};

/* Places in a flow, one for each kind of interface and direction: kind (enum ktrace_interface_kind) - 1, twice, and 1 more on the way out. */
enum ktrace_places {
	KTRACE_PLACE_POD_IN = 0,
	KTRACE_PLACE_POD_OUT = 1,
	KTRACE_PLACE_BRIDGE_IN = 2,
	KTRACE_PLACE_TUNNEL_IN = 4,
	KTRACE_PLACE_UPLINK_IN = 6,
	KTRACE_PLACE_UPLINK_OUT = 7,
	KTRACE_PLACES = 8,
};

/* A hook that has seen the flow, and what it has to know to tell what is new there. */
struct ktrace_flow_place {
	__u32 ifindex; /* 0: none */
	__u32 told_due; /* when its next packet may be emitted there, see rate.h */
	/* The next two are written as one (bpf/flow/flow.h, set_place). */
	__u32 generation; /* of the target set it was matched against there */
	__u32 state; /* a hash of its last packet's conntrack entry, 0 without: a change is a new translation; and flags, see flow.h */
};

struct ktrace_flow_count {
	__u64 packets;
	__u64 bytes;
};

/* Counters of a flow. */
enum ktrace_flow_counter {
	KTRACE_COUNTED_POD_IN = 0,
	KTRACE_COUNTED_POD_OUT = 1,
	KTRACE_COUNTED_UPLINK = 2, /* as long as no pod's interface is known to have it, see flow.h */
	KTRACE_COUNTERS = 3,
};

/* Counted in place for every packet of a followed target; read and aged by user space. */
struct ktrace_flow {
	struct ktrace_flow_count counts[KTRACE_COUNTERS];
	__u64 last_ns;
	__u32 opened_at; /* interface whose part of the table it takes */
	__u32 has_more; /* other entries of the tuple have an own_hook */
	struct ktrace_flow_place places[KTRACE_PLACES];
};

/* What an interface is, from user space: enum ktrace_interface_kind and flags. */
enum ktrace_interface_kind {
	KTRACE_INTERFACE_POD = 1,
	KTRACE_INTERFACE_BRIDGE = 2,
	KTRACE_INTERFACE_TUNNEL = 3,
	KTRACE_INTERFACE_UPLINK = 4,
};

/* Value of the interfaces map. */
struct ktrace_interface {
	__u32 kind;
	__u32 flows; /* in the flow table, opened at this interface: counted up by the kernel, corrected by user space when it has read the table */
};

/* What a rate is for: enum ktrace_rate_class. */
enum ktrace_rate_class {
	KTRACE_RATE_OWN = 0, /* what comes from a pod by its own doing, its interface's */
	KTRACE_RATE_ANSWER = 1, /* a pod's answers, for each followed peer; to others: to packets that were emitted */
	KTRACE_RATE_ANSWER_TO_UNTOLD = 2, /* a pod's answers to packets that were not emitted: it is flooded */
	KTRACE_RATE_UPLINK = 3, /* what comes in at an uplink, for each followed end */
	KTRACE_RATE_DROP = 4, /* drops in a network namespace, for each followed end */
	KTRACE_RATE_LATER_IN = 5, /* at a later hook: what came in nowhere, such as the node's own packets */
	KTRACE_RATE_LATER_OUT = 6,
	KTRACE_RATE_STACK = 7, /* what the kernel's functions do in a network namespace, for each followed end */
};

struct ktrace_rate_key {
	__u32 address[4]; /* 0: of everybody who has none of their own */
	__u32 ifindex; /* drops, and the kernel's functions: the network namespace */
	__u32 rate_class;
};
struct ktrace_rate {
	__u64 due_ns;
	__u64 new_due_ns;
	__u64 usual_until_ns; /* until then no more than the usual rate is taken, though every packet was asked for */
	__u64 cut; /* sightings that were not sent */
};

/* ktrace_pod_cut.state */
enum ktrace_pod_cut_state {
	KTRACE_POD_CUT_TAKEN = 1, /* its address is being written */
	KTRACE_POD_CUT_ADDRESS = 2,
};

/* What was cut of a pod without a closer look: of the one at an interface, or with an address. */
struct ktrace_pod_cut {
	__u64 cut; /* sightings that were not sent */
	__u32 ifindex; /* 0: none */
	__u32 state; /* 0: no address */
	__u32 address[4];
};

/* ktrace_target.kinds: what an address is to the followers. */
enum ktrace_address {
	KTRACE_ADDRESS_FOLLOWED = 1 << 0,
	KTRACE_ADDRESS_SERVICE = 1 << 1, /* leads to a followed pod, when a port of it does (service_ports) */
	KTRACE_ADDRESS_NODE = 1 << 2, /* may hide a followed pod behind a masquerade */
	KTRACE_ADDRESS_EVERY = 1 << 3, /* followed by one who asked for every packet of it */
	KTRACE_ADDRESS_SNAP = 1 << 4, /* followed by one who asked for more than the headers */
};

/* Value of the targets map. */
struct ktrace_target {
	__u32 kinds;
	__u32 gained; /* generation of the target set that last gave it to a follower */
};

struct ktrace_service_key {
	__u32 address[4];
	__u16 port;
	__u8 proto;
	__u8 pad;
};

/* A translation learned where conntrack was attached, for hooks where it is not. */
struct ktrace_remembered_key {
	struct ktrace_tuple tuple;
	__u32 proto;
};
struct ktrace_remembered {
	struct ktrace_tuple original;
	struct ktrace_tuple reply;
	__u64 seen_ns;
	__u32 status;
	__u32 is_reply;
};

/*
 * One per CPU; user space adds them up, what is counted or cut at once to matched and to counted or cut. matched = emitted + counted + uncounted + cut +
 * filtered + the lost_*. A sighting that is emitted after its packet has gone on (entered.h) is matched once more then.
 */
struct ktrace_stats {
	__u64 matched;
	__u64 emitted;
	__u64 counted;
	__u64 uncounted; /* no room for its flow, and not of a kind that is emitted all the same */
	__u64 cut; /* over the rate of its pod */
	__u64 filtered; /* no follower's filter can take it */
	__u64 lost_ring; /* the ring was full */
	__u64 lost_scratch; /* no scratch memory: cannot happen, counted all the same */
	__u64 flow_table_full; /* packets that found no room for their flow: the table is full, or the interface's share of it */
	__u64 unmatched; /* passed the bit set, was no target's */
	__u64 unparsed; /* no IP, or shorter than its header */
	__u64 no_body; /* the dispatcher found no body to call */
	__u64 drop_undecided; /* a drop, or a step of the stack, of a followed address in an unknown network namespace */
	__u64 drop_foreign; /* in another node's namespace: a drop, or a step of the stack, of what may be a followed address */
	__u64 counted_at_once; /* without a closer look: matched, and counted */
	__u64 cut_at_once; /* likewise, and cut */
};

#endif

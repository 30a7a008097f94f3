/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Maps by what they hold, configuration fixed at load (cfg_*), and the globals that user space changes while running. */
#ifndef KTRACE_MAPS_H
#define KTRACE_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "base/event.h"

/* Checked by the addon against the layout that user space was generated from, before anything is loaded. */
const volatile __u32 cfg_layout_version = KTRACE_LAYOUT_VERSION;
/* Inode of the network namespace of the node (the agent's own). */
const volatile __u32 cfg_netns = 0;
/* Conntrack's types are in BTF. */
const volatile __u8 cfg_conntrack = 1;
/* skb:kfree_skb has the receiving socket as its fourth argument (6.11 and later). */
const volatile __u8 cfg_drop_has_socket = 0;
/* Value of SKB_CONSUMED in this kernel. */
const volatile __u32 cfg_reason_consumed = 1;
/* And of SKB_DROP_REASON_NOT_SPECIFIED. */
const volatile __u32 cfg_reason_not_specified = 2;
/* Translations remembered for longer than this are not trusted any more. */
const volatile __u64 cfg_remember_ns = 30000000000ULL;
/* The kernel's time in ns, shifted by this, numbers the spans of port_seen: 69 s each. */
const volatile __u32 cfg_port_span_shift = 36;
/* A quarter of the ring, in bytes: from that fill on the reader is woken at once. */
const volatile __u64 cfg_wake_bytes = 1 << 20;

/* Between two sightings that are emitted for one pod, on average; 0: no bound. */
const volatile __u64 cfg_told_interval_ns = 0;
/* Entries of the flow table that one pod's interface may have, and one interface that many share. */
const volatile __u32 cfg_flows_of_pod = 4096;
const volatile __u32 cfg_flows_of_shared = 16384;
/* A body may call the filter's program: a kernel without tail calls beside functions (arm64 before 6.0) would refuse the body. */
const volatile __u8 cfg_filters = 1;

/* Hash of an address -> bit: zero means no follower can be interested, and costs no helper call. */
#define TARGET_BITS 65536
__u64 target_bits[TARGET_BITS / 64];
/* The same for the node's own addresses alone: between whom its tunnels are. */
__u64 node_bits[TARGET_BITS / 64];
/* The same for followed addresses alone. A packet of the others, which are nodes' and Services', is a follower's only behind a translation. */
__u64 followed_bits[TARGET_BITS / 64];
#define PORTS 65536
/* Ports of what is in service_ports, whatever their addresses and protocols. */
__u64 service_port_bits[PORTS / 64];
/* By destination port, in which span of time a translation was remembered or a flow counted under it, see ports.h; 0: never. */
__u8 port_seen[PORTS];
/* UDP ports of the node's own VXLAN devices, host order, 0 unused. */
__u16 vxlan_ports[4];
/* The same of its Geneve devices. */
__u16 geneve_ports[2];
/* The node has a device for IP in IP (protocols 4 and 41). */
__u32 has_ip_tunnels;
/* By ifindex, 0 unused: where the node's tunnels come in and go out. */
#define MAX_UPLINKS 8
__u32 uplinks[MAX_UPLINKS];
/* Some address has KTRACE_ADDRESS_EVERY: else nobody looks for it. */
__u32 every_packet;
/* Raised when the target set changes: flows matched against an older one are matched anew. */
__u32 target_generation;
/* Bytes to capture of a packet with KTRACE_SNAP, where its headers are fewer: the most that a follower asks for. At most KTRACE_CAPTURE_MOST. */
__u32 snap_bytes;
/* There is a program in `filters`: it is run before a sighting is emitted. */
__u32 filter_is_set;
/* When a packet was last cut where it came in: without a recent cut the map of cuts is not looked up. */
__u64 last_cut_ns;
/* The ring's reader has nothing to read, and its timer is slow: the next record wakes it, and clears this. */
__u32 reader_rests;
/* Where the ring's writers were when its reader was woken last. */
__u64 woken_at;
/* By interfaces' numbers, their lower bits, and then by addresses, see cut.h. */
#define POD_CUTS 1024
struct ktrace_pod_cut pod_cuts[2 * POD_CUTS];
/* When there was no room in the flow table for anybody's flow. */
__u64 flows_full_ns;
/* A tick of the kernel's clock, and the time that its count of them begins with, see ticks.h; 0: not known yet. */
__u64 tick_ns;
__u64 tick_base_ns;
/* Answer of ktrace_ticks: the count of ticks, and CLOCK_MONOTONIC right after it. */
__u64 ticks_counted;
__u64 ticks_counted_ns;
/* Answer of ktrace_peer: inode of the namespace of a veth's peer. */
__u32 peer_netns;
/* Answer of ktrace_symbol: as in src/agent/kernel/probes/kernel-symbols.ts. */
char symbol_text[128];

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} sightings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 11);
	__type(key, __u32);
	__type(value, __u32);
} bodies SEC(".maps");

/*
 * What the followers' filters leave out for certain: one program, made and loaded while running (src/filter/compile/ebpf.ts). It reads the scratch memory and
 * goes on at KTRACE_BODY_TOLD, _UNTOLD or _UNTOLD_FLOW. Putting another one in its place is one update, and no packet finds none.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} filters SEC(".maps");

struct address {
	__u32 words[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct ktrace_target);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ktrace_service_key);
	__type(value, __u32);
} service_ports SEC(".maps");

/* By ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ktrace_interface);
} interfaces SEC(".maps");

/* Network namespaces of this node's pods, by inode. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} pod_netns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct ktrace_flow_key);
	__type(value, struct ktrace_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct ktrace_remembered_key);
	__type(value, struct ktrace_remembered);
} remembered SEC(".maps");

struct fragment_key {
	__u32 src[4];
	__u32 dst[4];
	__u32 id;
	__u32 proto;
	__u32 place; /* where it was seen, see struct parsed: a first fragment that is sent elsewhere gives a datagram no ports */
};
struct fragment_ports {
	__u16 sport;
	__u16 dport;
};
/* Ports of a datagram's first fragment, for its later ones. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

/* Places that have nothing to count while an end of the flow is known: a bridge's and a tunnel's, in and out, and an uplink's out. */
#define PASSED_PLACES 5

/* A packet that NAT rewrites has several flows on its way, and several connections may be busy at once. */
#define LOOKED_UP_SLOTS 64

/*
 * The flows that a CPU has looked up last, by a hash, and the interfaces at which it had nothing to do for them: the next packets of a busy flow need not
 * look it up there. It lasts for one tick of the kernel's clock, so that a flow that has changed is seen to have after 1 to 10 ms.
 */
struct looked_up {
	struct ktrace_flow_key key;
	__u32 generation;
	__u64 jiffies;
	__u32 passed[PASSED_PLACES]; /* 0: not looked up there in this tick */
	__u32 is_every; /* its packets have KTRACE_EVERY: those that pass were cut */
	/* What is known of the packet that is counted: put here and read again, see is_counted. */
	__u32 place_number;
	__u32 inner;
	__u32 len;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOOKED_UP_SLOTS);
	__type(key, __u32);
	__type(value, struct looked_up);
} last_looked_up SEC(".maps");

/* Rates by pod. Keys are interfaces and followed addresses only, so forged addresses make no more of them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ktrace_rate_key);
	__type(value, struct ktrace_rate);
} rates SEC(".maps");

#define DROPPED_SLOTS 64

/* Of which flow a CPU has seen drops last, by a hash, and for which reason. */
struct dropped {
	struct ktrace_tuple tuple;
	__u32 netns;
	__u32 reason;
	__u32 proto;
	__u32 due; /* see take_of_flow */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROPPED_SLOTS);
	__type(key, __u32);
	__type(value, struct dropped);
} last_dropped SEC(".maps");

struct cut {
	struct ktrace_rate_key key;
	__u64 time_ns;
	__u32 mark;
	__u32 pad;
};
/* Packets, by sk_buff, that were looked at and cut where they came in: they are not emitted at later hooks either. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct cut);
} cuts SEC(".maps");

/* A card hands packets on in lists of eight, and one that waits somewhere on its way must not be forgotten meanwhile. */
#define CUT_AT_ONCE_SLOTS 256

/* A packet that was cut where it came in without a closer look, see cut.h. */
struct cut_at_once {
	__u64 skb; /* 0: none */
	__u64 time_ns; /* by ticks */
	__u32 mark;
	__u32 charged;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CUT_AT_ONCE_SLOTS);
	__type(key, __u32);
	__type(value, struct cut_at_once);
} cuts_at_once SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ktrace_stats);
} stats SEC(".maps");

/* A TCP header over IPv6, inside a tunnel over IPv6 that has 24 bytes of options. */
#define ENTERED_BYTES 160
/* Beside a tag: there is one, also when it is 0. */
#define VLAN_PRESENT (1U << 16)
/* A packet where it came in, see entered.h. */
struct entered {
	__u64 skb; /* 0: nothing is remembered */
	__u64 latest_ns; /* it came in at this time, or before */
	__u32 ifindex;
	__u32 len; /* from its IP header on */
	__u32 tag; /* VLAN_PRESENT and the tag */
	__u16 gso_segs;
	__u16 bytes_len;
	__u64 bytes[ENTERED_BYTES / 8]; /* from its IP header on, the outer one of a tunnel's packet */
};

/*
 * How a packet is to be read, and where its parts are: offsets in the source of the IP header that was taken, of the L4 header, and of the first
 * byte past the headers.
 */
struct parsed {
	__u32 opens; /* enum opens */
	__u32 place; /* ifindex at tc; in the stack's hands the interface it came in by, in a pod its network namespace */
	__u32 l3;
	__u32 l4;
	__u32 end;
};

/* The stack is 512 bytes. One for tc, one for each tracing program: any of them may interrupt another one on its CPU, but never itself. */
struct scratch {
	/* First, with what the filter's program asks for besides: struct ktrace_filtered. */
	struct ktrace_filtered filtered;
	struct ktrace_flow_key flow_key;
	struct ktrace_flow flow;
	struct ktrace_remembered remembered;
	struct ktrace_remembered_key remembered_key;
	struct ktrace_flow_key turned_key;
	struct cut cut;
	/* While what a packet was where it came in is emitted in its sighting's place, see entered.h. */
	struct ktrace_sighting own;
	struct entered entered;
	__u64 entered_from; /* address of its bytes */
	struct parsed entered_at;
	__u32 kinds; /* of the tuple's addresses, see tuple_kinds */
	__u32 l3; /* offset of the packet's IP header, and its tag if it has one in its bytes (VLAN_PRESENT): over the tail call to the body that looks closely */
	__u32 tag;
	__u32 entry_kind, told; /* put here and read again, see tell */
	__u32 headers_end; /* offset in the packet, over the tail calls by way of a filter */
	__u32 is_plain; /* likewise: IPv4, or IPv6 without extension headers, for which filters answer otherwise */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct ktrace_stats *stats_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&stats, &zero);
}

/* Atomic: a tracepoint in an interrupt may count on the CPU whose tc program it interrupted. */
#define COUNT(field)                                             \
	do {                                                     \
		struct ktrace_stats *_stats = stats_of_cpu();    \
		if (_stats)                                      \
			__sync_fetch_and_add(&_stats->field, 1); \
	} while (0)

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * What a packet was where it came in, for those that are not emitted there: a packet of a known flow is only counted, and one to a node's address is
 * not matched before its translation. When a later hook or a drop emits the same packet, this goes first. Each CPU remembers the last few;
 * a packet that goes on to another CPU is told without it.
 */
#ifndef KTRACE_ENTERED_H
#define KTRACE_ENTERED_H

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "flow/conntrack.h"
#include "base/event.h"
#include "base/maps.h"
#include "packet/parse.h"
#include "packet/tunnel.h"

/* A driver hands packets on in lists of eight, each of which passes the hook before the first goes on. */
#define ENTERED_SLOTS 16
/* Of a segment or datagram all that NAT changes; of ICMP the headers of a quoted packet as well. */
#define ENTERED_IPV4 40
#define ENTERED_IPV6 60
#define ENTERED_ICMP 60
#define ENTERED_ICMPV6 96
/* Of a packet's headers NAT changes nothing behind these. */
#define ENTERED_CHANGES 64
/* A packet waits 3 s for its neighbour's address. */
#define ENTERED_LASTS_NS 5000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ENTERED_SLOTS);
	__type(key, __u32);
	__type(value, struct entered);
} entered_packets SEC(".maps");

static __always_inline struct entered *entered_slot(__u64 skb)
{
	/* They are 256 bytes each, and lie side by side. */
	__u32 slot;

	/* A copy of the lower half is a number to the verifier, which lets no pointer be shifted. */
	asm volatile("%0 = %1" : "=w"(slot) : "w"((__u32)skb));
	slot = slot >> 8 & (ENTERED_SLOTS - 1);
	return bpf_map_lookup_elem(&entered_packets, &slot);
}

/* The packet's bytes, as many as are wanted and lie in one piece: by words, the last of them may be half a one. Gives their number. */
static __always_inline __u32 copy_start(struct __sk_buff *skb, __u32 l3, __u32 wanted, __u64 *to)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *at = data + l3;
	__u32 len = 0, i;

#pragma unroll
	for (i = 0; i < ENTERED_BYTES / 8; i++) {
		if (i * 8 >= wanted)
			break;
		if (at + i * 8 + 8 > end) {
			if (at + i * 8 + 4 <= end) {
				*(__u32 *)&to[i] = *(__u32 *)(at + i * 8);
				len += 4;
			}
			break;
		}
		to[i] = *(__u64 *)(at + i * 8);
		len += 8;
	}
	return len;
}

static __always_inline void note_entered(struct __sk_buff *skb, __u32 l3, __u32 wanted, __u64 latest_ns, __u32 tag)
{
	__u64 address = (__u64)(unsigned long)skb;
	struct entered *entered = entered_slot(address);

	if (!entered)
		return;
	/* A drop in an interrupt may look meanwhile. */
	entered->skb = 0;
	asm volatile("" ::: "memory");
	entered->latest_ns = latest_ns;
	entered->ifindex = skb->ifindex;
	entered->len = skb->len - l3;
	entered->tag = tag;
	entered->gso_segs = skb->gso_segs ? skb->gso_segs : 1;
	entered->bytes_len = copy_start(skb, l3, wanted, entered->bytes);
	asm volatile("" ::: "memory");
	entered->skb = address;
}

static __always_inline __u32 bytes_wanted(const struct ktrace_sighting *s)
{
	if (s->tunnel_kind)
		return ENTERED_BYTES;
	if (s->flags & KTRACE_L4 && s->proto != IPPROTO_ICMP && s->proto != IPPROTO_ICMPV6)
		return s->ip_version == 4 ? ENTERED_IPV4 : ENTERED_IPV6;
	return s->ip_version == 4 ? ENTERED_ICMP : ENTERED_ICMPV6;
}

/* A segment or datagram as it usually is. inner: offset of the inner IP header from the outer one, 0 when it is in no tunnel. */
static __always_inline void note_usual(struct __sk_buff *skb, const __u32 l3, __u32 inner, __u64 latest_ns)
{
	bool is_ipv4 = skb->protocol == bpf_htons(ETH_P_IP);
	__u32 usual = is_ipv4 && !inner ? ENTERED_IPV4 : inner + ENTERED_IPV6;
	__u32 tag = skb->vlan_present ? VLAN_PRESENT | skb->vlan_tci : 0;

	note_entered(skb, l3, usual, latest_ns, tag);
}

/* Kind of an interface where packets that it takes in begin their way on this node; 0: it is none. */
static __always_inline __u32 entry_kind(__u32 ifindex)
{
	struct ktrace_interface *interface = bpf_map_lookup_elem(&interfaces, &ifindex);

	if (!interface || (interface->kind != KTRACE_INTERFACE_POD && interface->kind != KTRACE_INTERFACE_UPLINK))
		return 0;
	return interface->kind;
}

/* A datagram that comes in and is not looked at closer: its translation may turn out to be a follower's. */
static __always_inline void note_datagram(struct __sk_buff *skb, const __u32 l3)
{
	if (is_uplink(skb->ifindex) || entry_kind(skb->ifindex))
		note_usual(skb, l3, 0, bpf_ktime_get_ns());
}

static __always_inline void forget_entered(__u64 skb)
{
	struct entered *entered = entered_slot(skb);

	if (entered && entered->skb == skb)
		entered->skb = 0;
}

static __always_inline bool is_same_address(const __u32 *one, const __u32 *other)
{
	return !((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) | (one[3] ^ other[3]));
}

/* Whether the packet came in as this: it still is what it was, or its connection's entry says what it was. An error carries the entry of another flow. */
static __always_inline bool may_have_been(const struct ktrace_sighting *own, const struct ktrace_tuple *was)
{
	if (is_same_tuple(was, &own->tuple))
		return true;
	if (own->flags & KTRACE_QUOTED)
		return is_same_address(was->src, own->tuple.src) || is_same_address(was->dst, own->tuple.dst);
	if (!(own->flags & KTRACE_CONNTRACK))
		return false;
	return is_same_tuple(was, own->flags & KTRACE_CT_REPLY ? &own->ct_reply : &own->ct_original);
}

/* An sk_buff is used again at once: it is the same packet only when all agrees that NAT does not change. */
static __always_inline bool is_same_packet(const struct ktrace_sighting *own, const struct ktrace_sighting *was)
{
	return own->proto == was->proto && own->ip_version == was->ip_version && own->ip_id == was->ip_id &&
	       own->len == was->len && own->fragment_offset == was->fragment_offset && own->tcp_seq == was->tcp_seq &&
	       own->tcp_ack == was->tcp_ack && own->tcp_flags == was->tcp_flags && own->icmp_type == was->icmp_type &&
	       own->icmp_code == was->icmp_code && own->icmp_seq == was->icmp_seq &&
	       !((own->flags ^ was->flags) & KTRACE_QUOTED) && may_have_been(own, &was->tuple);
}

/* A global function takes no pointer for a number: read as memory it is one. */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &pointer);
	return number;
}

/*
 * The sighting that is about to be emitted lies in the scratch memory. When a packet is remembered that may be its, the sighting is laid aside, and all
 * is prepared for what is remembered to be parsed in its place. Three functions, of which each is called by itself: all that call each other have one
 * stack of 512 bytes.
 */
__noinline int find_entered(struct scratch *scratch)
{
	struct ktrace_sighting *s;
	struct entered *entered;

	if (!scratch)
		return 0;
	s = &scratch->filtered.sighting;
	entered = entered_slot(s->skb);
	if (!entered || !s->skb || entered->skb != s->skb)
		return 0;
	entered->skb = 0;
	/* What this hook itself has noted: an uplink whose kind is not known yet. */
	if (s->hook == KTRACE_HOOK_TC_IN && s->ifindex == entered->ifindex)
		return 0;
	if (s->time_ns > entered->latest_ns + ENTERED_LASTS_NS)
		return 0;
	scratch->entered = *entered;
	scratch->own = *s;
	__builtin_memset(s, 0, __builtin_offsetof(struct ktrace_sighting, data));
	__builtin_memset(&scratch->entered_at, 0, sizeof(scratch->entered_at));
	scratch->entered_at.opens = is_uplink(entered->ifindex) ? OPENS_TO_NODE : OPENS_NOTHING;
	scratch->entered_at.place = entered->ifindex;
	scratch->entered_from = address_of(scratch->entered.bytes);
	return 1;
}

/* Once it is parsed: whether it is the same packet, and then it is a sighting. */
__noinline int complete_entered(struct scratch *scratch)
{
	const __u32 kept = KTRACE_EVERY | KTRACE_SNAP | KTRACE_NOTHING_NEW;
	struct ktrace_sighting *s, *own;
	struct entered *entered;
	__u32 len, l3;

	if (!scratch)
		return 0;
	s = &scratch->filtered.sighting;
	own = &scratch->own;
	entered = &scratch->entered;
	if (!is_same_packet(own, s))
		return 0;
	s->time_ns = entered->latest_ns < own->time_ns ? entered->latest_ns : own->time_ns;
	s->skb = own->skb;
	s->netns = cfg_netns;
	s->ifindex = entered->ifindex;
	s->hook = KTRACE_HOOK_TC_IN;
	s->gso_segs = entered->gso_segs;
	/* Provisional: user space may take the drop that is told for none, and then there is nothing to tell. */
	s->flags |= KTRACE_ENTRY | KTRACE_PROVISIONAL | (own->flags & kept);
	if (entered->tag) {
		s->flags |= KTRACE_VLAN;
		s->vlan_tci = entered->tag;
	}
	/* What follows the headers is the same. */
	s->payload_hash = own->payload_hash;
	s->data_len = own->data_len;
	s->headers_len = own->headers_len;
	l3 = scratch->entered_at.l3;
	len = entered->bytes_len - l3;
	if (len > own->data_len)
		len = own->data_len;
	if (len > ENTERED_CHANGES)
		len = ENTERED_CHANGES;
	asm volatile("" : "+r"(len));
	len &= 2 * ENTERED_CHANGES - 1;
	if (bpf_probe_read_kernel(s->data, len, (void *)(unsigned long)(scratch->entered_from + l3)))
		s->data_len = 0;
	return 1;
}

#endif

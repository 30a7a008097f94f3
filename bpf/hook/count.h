/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Most packets say nothing new: of a flow that is known at the hook they are counted, and done with. */
#ifndef KTRACE_COUNT_H
#define KTRACE_COUNT_H

#include <linux/in.h>
#include "base/event.h"
#include "base/maps.h"
#include "base/ticks.h"
#include "flow/conntrack.h"
#include "flow/cut.h"
#include "flow/entered.h"
#include "flow/flow.h"
#include "flow/rate.h"
#include "hook/match.h"
#include "packet/parse.h"
#include "packet/ports.h"
#include "packet/tunnel.h"

/* Addresses and ports of a packet as it usually is, and its cut_mark without the length; false when it is anything else, or may say something new. */
static __always_inline bool usual_key(void *l3, void *end, struct ktrace_flow_key *key, __u32 *len, __u32 *mark)
{
	struct fast_header header;
	__u32 seq = 0;

	if (!fast_header(l3, end, &header) || (header.words != 1 && is_mapped(header.src)))
		return false;
	if (header.proto == IPPROTO_TCP && (header.l4 + 14 > (__u8 *)end || header.l4[13] & TCP_SYN_FIN_RST))
		return false;
	set_fast_tuple(&key->tuple, &header);
	key->proto = header.proto;
	if (header.proto == IPPROTO_TCP)
		__builtin_memcpy(&seq, header.l4 + 4, sizeof(seq));
	*mark = cut_mark(0, header.id, header.proto, bpf_ntohl(seq));
	*len = header.len;
	return true;
}

/*
 * As long as a connection whose follower is behind a translation has packets, in either direction, what comes in of it is looked at. At ends alone:
 * the clock was read for them.
 */
static __always_inline void note_ports(const struct ktrace_flow_place *place, __u32 place_number,
				       const struct ktrace_tuple *tuple, __u64 now_ns)
{
	if (place->state & PLACE_BEHIND && is_end(place_number))
		note_port(place_number & 1 ? tuple->sport : tuple->dport, now_ns);
}

/* Most packets are this. A plain addition: no other tc program runs on the CPU meanwhile, and no other kind counts here. */
static __always_inline void count_counted(void)
{
	struct ktrace_stats *cpu = stats_of_cpu();

	if (cpu)
		cpu->counted_at_once += 1;
}

/* Charged first: user space takes what is counted and not charged for nobody's. */
static __always_inline void count_cut(__u32 charged)
{
	struct ktrace_stats *cpu = stats_of_cpu();

	charge_cut(charged);
	if (cpu)
		cpu->cut_at_once += 1;
}

/*
 * To whom a packet of a flow whose every packet is asked for is charged, when it is cut where it comes in, for its whole way; else 0. At a pod's interface to
 * that pod, at an uplink to the followed end, as its rate is. A filter may leave a packet out, which then is none that is cut: with one each is looked at.
 */
static __always_inline __u32 charged_here(const struct ktrace_flow_key *key, const struct ktrace_flow_place *place,
					  __u32 place_number)
{
	const __u32 *src = key->tuple.src, *dst = key->tuple.dst;

	if (filter_is_set || !is_held_back(place, coarse_ns()))
		return 0;
	if (place_number == KTRACE_PLACE_POD_IN)
		return charged_to_interface(place->ifindex);
	return charged_to_address(is_set(followed_bits, bit_of(src[0], src[1], src[2], src[3])) ? src : dst);
}

/* Of the IP packet, the inner one in a tunnel. told: by its header. */
static __always_inline __u32 len_at(const struct __sk_buff *skb, const __u32 l3, __u32 inner, __u32 told)
{
	__u32 most = skb->len - l3 - inner;

	return !told || told > most ? most : told;
}

static __always_inline bool is_entry(__u32 place)
{
	return place == KTRACE_PLACE_POD_IN || place == KTRACE_PLACE_UPLINK_IN;
}

/* Whether this CPU has looked up the same flow, in this tick. key: without own_hook. */
static __always_inline bool is_last(const struct looked_up *last, const struct ktrace_flow_key *key)
{
	__u64 differs = (last->jiffies ^ bpf_jiffies64()) | (last->generation ^ target_generation) |
			tuple_differs(&last->key.tuple, &key->tuple) | (last->key.proto ^ key->proto);

	return !differs;
}

/* Whether there is nothing to do for the flow where the packet passes. came_in: it is not the node's own. */
static __always_inline bool is_passing(const struct looked_up *last, __u64 ifindex, const __u8 hook, __u32 came_in)
{
	const __u32 out = hook == KTRACE_HOOK_TC_OUT;

	if (!((ifindex ^ last->passed[out]) * (ifindex ^ last->passed[2 + out])))
		return true;
	return out && came_in && ifindex == last->passed[4];
}

/*
 * The flow was looked up at this place, and had nothing to tell. Where it also counts nothing, remembers nothing, and has no follower behind a
 * translation, this is noted.
 */
static __always_inline void note_looked_up(struct looked_up *last, bool was_last, const struct ktrace_flow_key *key,
					   const struct ktrace_flow *flow, __u32 at, __u32 generation, bool is_every)
{
	const struct ktrace_flow_place *places = flow->places;
	__u32 came_in = places[KTRACE_PLACE_POD_IN].ifindex | places[KTRACE_PLACE_UPLINK_IN].ifindex;
	__u32 ended = came_in | places[KTRACE_PLACE_POD_OUT].ifindex;

	if (!was_last) {
		__builtin_memset(last->passed, 0, sizeof(last->passed));
		last->key = *key;
		last->jiffies = bpf_jiffies64();
		/* That which the place was compared with: it may have been raised since. */
		last->generation = generation;
		last->is_every = is_every;
	}
	if (at == KTRACE_PLACE_UPLINK_OUT && came_in && !(places[KTRACE_PLACE_UPLINK_OUT].state & PLACE_BEHIND))
		last->passed[4] = places[KTRACE_PLACE_UPLINK_OUT].ifindex;
	at -= KTRACE_PLACE_BRIDGE_IN;
	if (at < 4 && ended) {
		asm volatile("" : "+r"(at));
		at &= 3;
		last->passed[at] = places[KTRACE_PLACE_BRIDGE_IN + at].ifindex;
	}
}

/*
 * The way of most packets: a TCP segment or datagram of a flow that is known at this hook, with nothing new about it, is counted and done with.
 * It takes one look-up in the flow table, besides those of the CPU's counters, and neither copies headers nor uses scratch memory. Also inside the node's
 * own tunnels.
 */
static __always_inline bool is_counted(struct __sk_buff *skb, const __u32 l3, const __u8 hook)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *at = data + l3;
	struct ktrace_flow_key key = {};
	struct ktrace_flow_place *place;
	struct looked_up *last;
	bool was_last;
	struct ktrace_flow *flow;
	unsigned long nfct = 0;
	__u32 inner, came_in, place_number = 0, len = 0, mark = 0, charged = 0;
	__u64 now_ns = 0;

	inner = inner_offset(skb, at, end, hook);
	if (!usual_key(at + inner, end, &key, &len, &mark))
		return false;
	last = looked_up_slot(&key);
	if (!last)
		return false;
	/* It is not the node's own. */
	came_in = inner | skb->ingress_ifindex;
	was_last = is_last(last, &key);
	if (was_last && is_passing(last, skb->ifindex, hook, came_in)) {
		if (!last->is_every) {
			count_counted();
			return true;
		}
		if (came_in)
			charged = charged_before((__u64)(unsigned long)skb, mark ^ len_at(skb, l3, inner, len) << 16,
						 coarse_ns());
		if (charged)
			count_cut(charged);
		return charged;
	}
	flow = known_flow(&key, skb->ifindex, hook, &place_number);
	if (!flow)
		return false;
	/*
	 * Through memory, and the verifier knows no more than that they are numbers: else it would go through all that follows once for each place, and for
	 * packets in tunnels and others, four times as much.
	 */
	last->place_number = place_number;
	last->inner = inner;
	last->len = len;
	asm volatile("" ::: "memory");
	place_number = last->place_number;
	inner = last->inner;
	len = last->len;
	place = place_of(flow, place_number);
	if (!place || place->generation != target_generation)
		return false;
	len = len_at(skb, l3, inner, len);
	if (place->state & PLACE_EVERY) {
		if (is_entry(place_number))
			charged = charged_here(&key, place, place_number);
		else if (came_in)
			charged = charged_before((__u64)(unsigned long)skb, mark ^ len << 16, coarse_ns());
		if (!charged)
			return false;
	}
	if (!inner)
		nfct = conntrack_at_tc(skb) & ~NFCT_INFO_MASK;
	if (!is_same_entry(place, nfct))
		return false;
	if (charged)
		count_cut(charged);
	else
		count_counted();
	if (!key.own_hook)
		note_looked_up(last, was_last, &key, flow, place_number, place->generation, charged);
	if (is_end(place_number))
		now_ns = coarse_ns();
	inlined_count_at(flow, place_number, is_nodes_own(skb, hook, inner), skb->gso_segs ? skb->gso_segs : 1, len,
			 now_ns);
	if (is_entry(place_number)) {
		note_usual(skb, l3, inner, now_ns + COARSE_NS);
		if (charged)
			note_cut((__u64)(unsigned long)skb, mark ^ len << 16, charged, now_ns);
	}
	note_ports(place, place_number, &key.tuple, now_ns);
	return true;
}

/* The same after a close look. */
static __always_inline void count_seen(const struct __sk_buff *skb, const __u8 hook, struct ktrace_flow *flow,
				       const struct ktrace_flow_place *place, __u32 place_number,
				       const struct ktrace_sighting *s)
{
	count_at(flow, is_nodes_own(skb, hook, s->tunnel_kind) ? place_number | OF_NODE : place_number, s->gso_segs,
		 s->len, s->time_ns);
	note_ports(place, place_number, &s->tuple, s->time_ns);
}

#endif

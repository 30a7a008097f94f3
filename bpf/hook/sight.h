/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* What is done with a packet that passed the bit set at a tc hook: count it, or look closer, match, and emit what is new. */
#ifndef KTRACE_SIGHT_H
#define KTRACE_SIGHT_H

#include <linux/in.h>
#include "base/event.h"
#include "base/kernel.h"
#include "base/maps.h"
#include "flow/conntrack.h"
#include "flow/entered.h"
#include "flow/flow.h"
#include "flow/rate.h"
#include "hook/count.h"
#include "hook/emit.h"
#include "hook/match.h"
#include "hook/vlan.h"
#include "packet/parse.h"
#include "packet/tunnel.h"

/* Whether a follower wants this packet; sets KTRACE_PROVISIONAL when that depends on its translation, which is not known yet. is_known: see recall. */
static __always_inline bool is_matched(struct ktrace_sighting *s, struct scratch *scratch, unsigned long nfct,
				       bool is_known)
{
	__u32 kinds = tuple_kinds(&s->tuple), src = kinds & 0xffff, dst = kinds >> 16;

	scratch->kinds = kinds;
	if (nfct)
		read_conntrack(nfct, s);
	else if (s->flags & KTRACE_QUOTED)
		recall_quoted(s, scratch);
	else if ((src | dst) & (KTRACE_ADDRESS_SERVICE | KTRACE_ADDRESS_NODE))
		recall(s, scratch, is_known);
	if ((src | dst) & KTRACE_ADDRESS_FOLLOWED)
		return true;
	if (s->flags & KTRACE_CONNTRACK && (is_followed_tuple(&s->ct_original) || is_followed_tuple(&s->ct_reply)))
		return true;
	if (s->flags & KTRACE_QUOTED && is_followed_tuple(&s->quoted))
		return true;
	/* With conntrack attached the translation is known, and was not a followed one. */
	if (s->flags & KTRACE_CONNTRACK)
		return false;
	if (dst & (KTRACE_ADDRESS_SERVICE | KTRACE_ADDRESS_NODE) &&
	    leads_to_followed(s->tuple.dst, s->tuple.dport, s->proto)) {
		s->flags |= KTRACE_PROVISIONAL;
		return true;
	}
	return false;
}

/* Kind of the interface where the packet's way on this node begins; 0 when that is not this one. */
static __always_inline __u32 entry_kind_of(const struct ktrace_sighting *s)
{
	return s->hook == KTRACE_HOOK_TC_IN ? entry_kind(s->ifindex) : 0;
}

/*
 * Whether the packet is to be remembered, until it is emitted. Of what is not in the flow table, a segment of an old connection is not: most of the
 * node's own packets are that, and those of a pod are in the table.
 */
static __always_inline bool is_entering(const struct ktrace_sighting *s, const struct parsed *at, bool is_known)
{
	if (s->hook != KTRACE_HOOK_TC_IN || (!is_known && s->proto == IPPROTO_TCP && !(s->tcp_flags & TCP_SYN_FIN_RST)))
		return false;
	/* At an uplink tunnels are opened: this takes no look-up. */
	return at->opens == OPENS_TO_NODE || entry_kind_of(s);
}

/*
 * Whether a flow that is known at this hook is to be emitted again: its translation has changed, or a follower is new to one of its ends. A new target
 * set alone is no reason.
 */
static __always_inline bool is_changed(const struct ktrace_flow_place *place, const struct ktrace_sighting *s,
				       unsigned long nfct)
{
	if (!is_same_entry(place, nfct))
		return true;
	return place->generation != target_generation && is_gained_after(s, place->generation);
}

/*
 * Emits a packet that has passed the filter, if there is one, when there is room. place: this hook's in the flow, 0 when the flow is new here.
 * is_captured: it was captured for the filter already.
 */
static __always_inline void tell(struct __sk_buff *skb, struct scratch *scratch, struct ktrace_flow *flow,
				 struct ktrace_flow_place *place, unsigned long nfct, const struct parsed *at,
				 const bool is_captured)
{
	const struct source source = { .tc = true, .from = skb };
	struct ktrace_sighting *s = &scratch->filtered.sighting;
	__u32 entry_kind = entry_kind_of(s), generation = scratch->filtered.generation, told = is_always_told(s);

	/* Through memory, for the verifier's sake, as in is_counted. */
	scratch->entry_kind = entry_kind;
	scratch->told = told;
	asm volatile("" ::: "memory");
	entry_kind = scratch->entry_kind;
	told = scratch->told;

	s->skb = (__u64)(unsigned long)skb;
	if (entry_kind || is_nodes_own(skb, s->hook, s->tunnel_kind))
		forget_cut(s->skb);
	/*
	 * Without room for its flow each of its packets looks new. Only what is always told is told then: else they would use up what their pod's
	 * new flows may take of its rate.
	 */
	if (!flow && !told && !(s->flags & (KTRACE_PROVISIONAL | KTRACE_EVERY)) &&
	    !has_room(bpf_map_lookup_elem(&interfaces, &s->ifindex), s->time_ns, 1)) {
		COUNT(flow_table_full);
		COUNT(uncounted);
		return;
	}
	/* A flow that is new, or has changed, stays so until there is room to tell of it. */
	if (!is_within_rate(s, scratch, place, entry_kind, s->skb)) {
		if (entry_kind)
			forget_entered(s->skb);
		COUNT(cut);
		return;
	}
	if (place) {
		bool changed = is_changed(place, s, nfct);

		if (changed)
			forget_looked_up(&scratch->flow_key);
		set_place(place, s, scratch->kinds, nfct, generation);
		if (!changed && !told) {
			if (!(s->flags & KTRACE_EVERY)) {
				COUNT(counted);
				return;
			}
			s->flags |= KTRACE_NOTHING_NEW;
		}
	} else if (!(s->flags & KTRACE_PROVISIONAL)) {
		join_flow(flow, nfct, generation, 1, is_nodes_own(skb, s->hook, s->tunnel_kind));
		/*
		 * A remembered request was told at another hook: only its first packet, provisional here, was not counted at this one. The
		 * first reply is new all the same.
		 */
		if (s->flags & KTRACE_CT_REMEMBERED && !(s->flags & KTRACE_CT_REPLY) && !told) {
			if (!(s->flags & KTRACE_EVERY)) {
				COUNT(counted);
				return;
			}
			s->flags |= KTRACE_NOTHING_NEW;
		}
	}
	if (s->flags & KTRACE_CONNTRACK && !(s->flags & KTRACE_CT_REMEMBERED))
		remember(s, scratch);
	if (entry_kind)
		s->flags |= KTRACE_ENTRY;
	if (s->proto == IPPROTO_UDP || s->proto == IPPROTO_SCTP)
		hash_payload(&source, at, s);
	if (!is_captured)
		capture(&source, at, s);
	if (entry_kind) {
		forget_entered(s->skb);
		emit(s);
	} else {
		emit_whole(s, scratch);
	}
}

static __always_inline unsigned long nfct_of(struct __sk_buff *skb, const struct ktrace_sighting *s)
{
	/* Inside a tunnel's outer packet the entry is the tunnel's, not the packet's. */
	return s->tunnel_kind ? 0 : conntrack_at_tc(skb);
}

/*
 * Whether a filter that reads no bytes answers for this packet as for others of its flow: one with extension headers it may take otherwise, and one of
 * IPv6 between addresses of IPv4 has the flow of IPv4's.
 */
static __always_inline bool is_plain(const struct ktrace_sighting *s, const struct parsed *at)
{
	return s->ip_version == 4 || (at->l4 - at->l3 == sizeof(struct ipv6hdr) && !is_mapped(s->tuple.src));
}

/* For the body that looks closely. tag: VLAN_PRESENT and the tag that the packet has in its bytes; 0: none. */
static __always_inline void look_closely(struct __sk_buff *skb, __u32 l3, const __u8 hook, __u32 tag)
{
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);

	if (!scratch) {
		COUNT(matched);
		COUNT(lost_scratch);
		return;
	}
	scratch->l3 = l3;
	scratch->tag = tag;
	bpf_tail_call(skb, &bodies, hook == KTRACE_HOOK_TC_IN ? KTRACE_BODY_CLOSE_IN : KTRACE_BODY_CLOSE_OUT);
	COUNT(no_body);
}

static __always_inline void see_closely(struct __sk_buff *skb, const __u8 hook)
{
	const struct source source = { .tc = true, .from = skb };
	__u32 zero = 0, l3, tag;
	struct scratch *scratch;
	struct ktrace_sighting *s;
	struct ktrace_flow *flow;
	struct ktrace_flow_place *place = 0;
	struct parsed at = {};
	unsigned long nfct;
	__u32 generation, place_number;

	/* Before the packet is matched: the set may be another one afterwards. */
	generation = target_generation;
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch) {
		COUNT(matched);
		COUNT(lost_scratch);
		return;
	}
	/* Behind two tags at most; the verifier wants a bound. */
	l3 = scratch->l3 & 63;
	tag = scratch->tag;
	s = &scratch->filtered.sighting;
	__builtin_memset(s, 0, __builtin_offsetof(struct ktrace_sighting, data));
	scratch->filtered.generation = generation;
	at.opens = opens_at(skb, hook);
	at.place = skb->ifindex;
	if (parse_packet_at_tc(skb, l3, s, &at)) {
		COUNT(unparsed);
		return;
	}
	s->hook = hook;
	s->ifindex = skb->ifindex;
	s->netns = cfg_netns;
	s->gso_segs = skb->gso_segs ? skb->gso_segs : 1;
	if (skb->vlan_present)
		tag = VLAN_PRESENT | skb->vlan_tci;
	if (tag) {
		s->flags |= KTRACE_VLAN;
		s->vlan_tci = tag;
	}
	s->time_ns = bpf_ktime_get_ns();
	nfct = nfct_of(skb, s);

	scratch->is_plain = is_plain(s, &at);
	flow = find_flow(s, scratch, &place_number);
	if (flow)
		place = place_of(flow, place_number);
	if (is_entering(s, &at, place))
		note_entered(skb, l3, bytes_wanted(s), s->time_ns, tag);
	if (place && place->generation == generation && !(place->state & PLACE_EVERY) && is_same_entry(place, nfct) &&
	    !is_always_told(s) && (scratch->is_plain || !every_packet)) {
		COUNT(matched);
		count_seen(skb, hook, flow, place, place_number, s);
		COUNT(counted);
		return;
	}
	if (!is_matched(s, scratch, nfct, place)) {
		COUNT(unmatched);
		return;
	}
	COUNT(matched);
	note_wishes(s);
	if (place) {
		count_seen(skb, hook, flow, place, place_number, s);
		if (!is_always_told(s) && !(s->flags & KTRACE_EVERY) && !is_changed(place, s, nfct)) {
			/* Before the filter and its pod's rate: there is nothing to ask and nothing to charge. */
			set_place(place, s, scratch->kinds, nfct, generation);
			COUNT(counted);
			return;
		}
	}
	if (cfg_filters && filter_is_set) {
		capture(&source, &at, s);
		scratch->filtered.flow_is_new = !place;
		scratch->headers_end = at.end;
		bpf_tail_call(skb, &filters, 0);
		/* There was no program after all: nothing is left out. */
	}
	tell(skb, scratch, flow, place, nfct, &at, false);
}

/* This hook's place in the flow that was found before the filter; 0: none. */
static __always_inline struct ktrace_flow_place *place_again(struct ktrace_flow *flow, const struct ktrace_sighting *s)
{
	__u32 at = flow ? place_at(flow, s->ifindex, s->hook) : KTRACE_PLACES;

	return flow ? place_of(flow, at) : 0;
}

static __always_inline void see(struct __sk_buff *skb, const __u32 l3, const __u8 hook)
{
	if (!is_counted(skb, l3, hook))
		look_closely(skb, l3, hook, 0);
}

/* A packet whose tag the kernel has not taken out of it, such as the second of two: this is rare, and takes the long way. */
static __always_inline void see_tagged(struct __sk_buff *skb, const __u8 hook)
{
	__u32 tag = 0, l3 = skip_tags(skb, &tag);

	if (l3 && tagged_may_match(skb, l3))
		look_closely(skb, l3, hook, tag);
}

static __always_inline void see_told(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);
	struct ktrace_sighting *s;
	struct parsed at = {};
	struct ktrace_flow *flow;

	if (!scratch) {
		COUNT(lost_scratch);
		return;
	}
	s = &scratch->filtered.sighting;
	flow = bpf_map_lookup_elem(&flows, &scratch->flow_key);
	at.end = scratch->headers_end;
	tell(skb, scratch, flow, place_again(flow, s), nfct_of(skb, s), &at, true);
}

/*
 * Nothing is emitted, but what other packets' records need is stored: the flow, so that its next packets are only counted, and its translation. This
 * takes nothing from its pod's rate, so half of the interface's flows are reserved for those that are emitted.
 */
static __always_inline void see_untold(struct __sk_buff *skb, const bool is_of_flow)
{
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);
	struct ktrace_sighting *s;
	struct ktrace_flow_place *place;
	struct ktrace_flow *flow;
	unsigned long nfct;

	if (!scratch) {
		COUNT(lost_scratch);
		return;
	}
	s = &scratch->filtered.sighting;
	forget_entered((__u64)(unsigned long)skb);
	/* Nor are its flow's next packets taken, as long as filter and target set stay the same: they are counted, though every packet was asked for. */
	if (is_of_flow && scratch->is_plain)
		s->flags &= ~KTRACE_EVERY;
	nfct = nfct_of(skb, s);
	flow = bpf_map_lookup_elem(&flows, &scratch->flow_key);
	place = place_again(flow, s);
	if (place)
		set_place(place, s, scratch->kinds, nfct, scratch->filtered.generation);
	else if (!(s->flags & KTRACE_PROVISIONAL))
		join_flow(flow, nfct, scratch->filtered.generation, 2, is_nodes_own(skb, s->hook, s->tunnel_kind));
	if (s->flags & KTRACE_CONNTRACK && !(s->flags & KTRACE_CT_REMEMBERED))
		remember(s, scratch);
	COUNT(filtered);
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * How much is emitted for one pod: a flood of one must not take the ring, the flow table and the agent's time from all others. Packets over the
 * rate are cut where they enter the node, for their whole way on it, and counted. The packets themselves are not touched.
 */
#ifndef KTRACE_RATE_H
#define KTRACE_RATE_H

#include <linux/in.h>
#include <linux/in6.h>
#include "base/event.h"
#include "flow/cut.h"
#include "flow/flow.h"
#include "base/maps.h"

#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
/* One flow gets this part of its pod's rate, and so do flows that are new, and drops: of a thousand a second the next says nothing new. */
#define RATE_PART 4
/* Drops of one flow for one reason get this part of what all drops get: a socket that is full must not take the room of its pod's other drops. */
#define RATE_DROPPED_PART 4
/* Where packets of many pods pass, the bound is wider: who came in over a pod's interface was held to its rate there already. */
#define RATE_LATER 4
/* With --packets data is emitted, too, as long as the reader keeps up. */
#define RATE_EVERY_PACKET 25
/*
 * Quarters of the ring that may be filled at that rate, where a packet enters the node and at later hooks: the rest is for all others. What was let in
 * has more room, or it would lack its later hops.
 */
#define EVERY_ENTRY_QUARTERS 2
#define EVERY_LATER_QUARTERS 3
/* Nothing may come at once that does not fit into a second. */
#define RATE_BURST_NS 1000000000ULL
/* A packet does not stay on a node for longer. */
#define CUT_LASTS_NS 1000000000ULL
/*
 * A pod whose packets were all asked for, and were more than there is room for, is told at its usual rate for so long: what cannot be told whole anyway is told in part,
 * which costs its traffic less. Then as many are told as go in again.
 */
#define USUAL_LASTS_NS 10000000000ULL
/* And so long one of its flows, when a packet of it had no room, is cut without a closer look. */
#define HELD_BACK_NS 2000000ULL

/*
 * A token bucket as the time at which the next token is due (GCRA): one word, no division. Two CPUs at once may both have the last token.
 * False when it is empty.
 */
static __always_inline bool take(__u64 *due_ns, __u64 now_ns, __u64 interval_ns)
{
	__u64 due = *due_ns < now_ns ? now_ns : *due_ns;

	if (due - now_ns >= RATE_BURST_NS)
		return false;
	*due_ns = due + interval_ns;
	return true;
}

/*
 * The same of a flow at one hook, where memory counts: in units of 1,024 ns, which wrap after 73 minutes. What is due later than a take can have made it
 * is from before.
 */
static __always_inline bool take_of_flow(__u32 *due, __u64 now_ns, __u64 interval_ns)
{
	__u32 now = now_ns >> 10, interval = (interval_ns + 1023) >> 10, burst = RATE_BURST_NS >> 10;
	__u32 ahead = *due - now;

	if (ahead > burst + interval)
		ahead = 0;
	if (ahead >= burst)
		return false;
	*due = now + ahead + interval;
	return true;
}

/* Also of a known flow: other packets are counted. */
static __always_inline bool is_always_told(const struct ktrace_sighting *s)
{
	return s->proto == IPPROTO_ICMP || s->proto == IPPROTO_ICMPV6 ||
	       (s->proto == IPPROTO_TCP && s->tcp_flags & TCP_SYN_FIN_RST);
}

/* How far the flow's next packet is due ahead of now, in units of 1,024 ns; 0 when that is past, or from before: see take_of_flow. now_ns may be by ticks. */
static __always_inline __u32 due_ahead(const struct ktrace_flow_place *place, __u64 now_ns)
{
	__u32 ahead = place->told_due - (__u32)(now_ns >> 10);

	return ahead > (RATE_BURST_NS + cfg_told_interval_ns * RATE_PART + COARSE_NS) >> 10 ? 0 : ahead;
}

/* The next packets of the flow that enter there have no room: is_counted cuts them. now_ns: by ticks. */
static __always_inline bool is_held_back(const struct ktrace_flow_place *place, __u64 now_ns)
{
	return cfg_told_interval_ns && due_ahead(place, now_ns) >= RATE_BURST_NS >> 10;
}

/*
 * Every packet is asked for where this one enters, and there is not room for all: it was refused, or its flow has used up half of what it may have at once of its
 * usual rate.
 */
static __always_inline void note_fullness(const struct ktrace_sighting *s, struct ktrace_rate *rate,
					  struct ktrace_flow_place *place, bool is_taken, bool is_every)
{
	__u64 longest_ns = cfg_told_interval_ns * RATE_PART;
	__u32 ahead = place ? due_ahead(place, s->time_ns) : 0;

	if (is_taken && (is_every || ahead < RATE_BURST_NS / 2 >> 10))
		return;
	if (s->time_ns >= rate->usual_until_ns)
		rate->usual_until_ns = s->time_ns + USUAL_LASTS_NS;
	/* It was the pod's rate that had no more, and the flow had much of it: it waits. Of one that has had enough itself the time is known, and stays. */
	if (!is_taken && place && !is_always_told(s) && ahead >= RATE_BURST_NS / 2 >> 10 && ahead < RATE_BURST_NS >> 10)
		place->told_due =
			(s->time_ns + RATE_BURST_NS + (longest_ns < HELD_BACK_NS ? longest_ns : HELD_BACK_NS)) >> 10;
}

/* Fields that NAT does not change: they distinguish a packet from an earlier one with the same sk_buff. */
static __always_inline __u32 mark_of(const struct ktrace_sighting *s)
{
	return s->len << 16 ^ (s->proto == IPPROTO_TCP ? s->tcp_seq : s->icmp_seq);
}

static __always_inline bool looks_like_answer(const struct ktrace_sighting *s)
{
	if (s->proto == IPPROTO_TCP)
		return s->tcp_flags & TCP_RST || (s->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
	if (s->proto == IPPROTO_ICMP)
		return s->icmp_type == 0 || s->flags & KTRACE_QUOTED;
	return s->proto == IPPROTO_ICMPV6 && (s->icmp_type == 129 || s->flags & KTRACE_QUOTED);
}

static __always_inline bool begins(const struct ktrace_sighting *s)
{
	if (s->proto == IPPROTO_TCP)
		return (s->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	return (s->proto == IPPROTO_ICMP && s->icmp_type == 8) || (s->proto == IPPROTO_ICMPV6 && s->icmp_type == 128);
}

/*
 * A pod that is flooded answers, and its answers must not use up its own rate. Answers to a followed peer are charged to a rate of that peer. There
 * is one rate for answers to other conversations that were emitted, and one for the rest. The flow table has the conversations that were emitted, but
 * it is not asked for a followed peer's: a flood may have filled this interface's share of it.
 */
static __always_inline enum ktrace_rate_class class_at_pod(const struct ktrace_sighting *s, struct scratch *scratch)
{
	struct ktrace_flow_key *turned = &scratch->turned_key;
	bool is_icmp = s->proto == IPPROTO_ICMP || s->proto == IPPROTO_ICMPV6;
	__u32 at;

	if (begins(s))
		return KTRACE_RATE_OWN;
	if (scratch->kinds >> 16 & KTRACE_ADDRESS_FOLLOWED && looks_like_answer(s))
		return KTRACE_RATE_ANSWER;
	__builtin_memset(turned, 0, sizeof(*turned));
	__builtin_memcpy(turned->tuple.src, s->tuple.dst, 16);
	__builtin_memcpy(turned->tuple.dst, s->tuple.src, 16);
	/* The id of an echo stays in its place. */
	turned->tuple.sport = is_icmp ? s->tuple.sport : s->tuple.dport;
	turned->tuple.dport = is_icmp ? s->tuple.dport : s->tuple.sport;
	turned->proto = s->proto;
	if (known_flow(turned, s->ifindex, KTRACE_HOOK_TC_OUT, &at))
		return KTRACE_RATE_ANSWER;
	return looks_like_answer(s) ? KTRACE_RATE_ANSWER_TO_UNTOLD : KTRACE_RATE_OWN;
}

/* The followed end, the sender first. Addresses that are not followed have no rate of their own: they can be forged. */
static __always_inline void set_rate_address(struct ktrace_rate_key *key, const struct ktrace_sighting *s, __u32 kinds)
{
	if (kinds & KTRACE_ADDRESS_FOLLOWED)
		__builtin_memcpy(key->address, s->tuple.src, 16);
	else if (kinds >> 16 & KTRACE_ADDRESS_FOLLOWED)
		__builtin_memcpy(key->address, s->tuple.dst, 16);
}

static __always_inline void set_rate_key(const struct ktrace_sighting *s, struct scratch *scratch, __u32 entry_kind)
{
	struct ktrace_rate_key *key = &scratch->cut.key;

	__builtin_memset(key, 0, sizeof(*key));
	key->ifindex = s->hook >= KTRACE_HOOK_DROP ? s->netns : s->ifindex;
	if (s->hook >= KTRACE_HOOK_DROP) {
		key->rate_class = s->hook == KTRACE_HOOK_DROP ? KTRACE_RATE_DROP : KTRACE_RATE_STACK;
		set_rate_address(key, s, scratch->kinds);
	} else if (entry_kind == KTRACE_INTERFACE_POD) {
		key->rate_class = class_at_pod(s, scratch);
		if (key->rate_class == KTRACE_RATE_ANSWER && scratch->kinds >> 16 & KTRACE_ADDRESS_FOLLOWED)
			__builtin_memcpy(key->address, s->tuple.dst, 16);
	} else {
		if (entry_kind)
			key->rate_class = KTRACE_RATE_UPLINK;
		else if (s->hook == KTRACE_HOOK_TC_IN)
			key->rate_class = KTRACE_RATE_LATER_IN;
		else
			key->rate_class = KTRACE_RATE_LATER_OUT;
		set_rate_address(key, s, scratch->kinds);
	}
}

/* The packet was cut where it came in. Counts it to the same rate. */
static __always_inline bool was_cut(const struct ktrace_sighting *s, struct scratch *scratch, __u64 skb)
{
	struct ktrace_rate *rate;
	struct cut *cut;

	if (was_cut_unseen(scratch))
		return true;
	if (s->time_ns > last_cut_ns + CUT_LASTS_NS)
		return false;
	cut = bpf_map_lookup_elem(&cuts, &skb);
	if (!cut || cut->mark != mark_of(s) || s->time_ns > cut->time_ns + CUT_LASTS_NS)
		return false;
	rate = bpf_map_lookup_elem(&rates, &cut->key);
	if (rate)
		__sync_fetch_and_add(&rate->cut, 1);
	return true;
}

/*
 * Whether it may take more than the usual rate: it is asked for, the ring is not filling up, and where it enters its pod has not had too much lately. Only
 * then the ring is asked for its fill.
 */
static __always_inline bool is_of_every(const struct ktrace_sighting *s, const struct ktrace_rate *rate,
					__u32 entry_kind)
{
	__u64 quarters = entry_kind ? EVERY_ENTRY_QUARTERS : EVERY_LATER_QUARTERS;

	return s->flags & KTRACE_EVERY && (!entry_kind || s->time_ns >= rate->usual_until_ns) &&
	       bpf_ringbuf_query(&sightings, BPF_RB_AVAIL_DATA) < quarters * cfg_wake_bytes;
}

/*
 * What was due at the usual rate is no debt at this one: the first packet after that time would be refused for it. And the flow's own time, which nothing else
 * moves meanwhile, must not become so old that it seems to lie ahead.
 */
static __always_inline void begin_every(const struct ktrace_sighting *s, struct ktrace_rate *rate,
					struct ktrace_flow_place *place)
{
	if (rate->usual_until_ns) {
		rate->usual_until_ns = 0;
		rate->due_ns = s->time_ns;
	}
	if (place && !due_ahead(place, s->time_ns))
		place->told_due = s->time_ns >> 10;
}

/*
 * Whether the drop may take of what its flow has for this reason, on this CPU. A packet that is told at other hooks, too, has no such bound: it would be told
 * without its drop.
 */
static __always_inline bool takes_of_dropped(const struct ktrace_sighting *s, __u64 interval_ns)
{
	__u32 slot = slot_of(&s->tuple);
	struct dropped *last;

	if (is_always_told(s) || s->flags & KTRACE_EVERY)
		return true;
	last = bpf_map_lookup_elem(&last_dropped, &slot);
	if (!last)
		return true;
	if (last->reason != s->drop_reason || last->netns != s->netns || last->proto != s->proto ||
	    !is_same_tuple(&last->tuple, &s->tuple)) {
		last->tuple = s->tuple;
		last->netns = s->netns;
		last->reason = s->drop_reason;
		last->proto = s->proto;
		last->due = s->time_ns >> 10;
	}
	return take_of_flow(&last->due, s->time_ns, interval_ns);
}

static __always_inline bool takes_of_all(const struct ktrace_sighting *s, struct scratch *scratch,
					 struct ktrace_rate *rate, struct ktrace_flow_place *place, __u64 interval_ns,
					 bool is_every)
{
	__u64 part_ns = interval_ns * RATE_PART, now_ns = s->time_ns;
	bool has_part = scratch->cut.key.rate_class != KTRACE_RATE_STACK;

	if (scratch->cut.key.rate_class == KTRACE_RATE_DROP && !takes_of_dropped(s, part_ns * RATE_DROPPED_PART))
		return false;
	if (!is_every && has_part &&
	    !(place ? take_of_flow(&place->told_due, now_ns, part_ns) : take(&rate->new_due_ns, now_ns, part_ns)))
		return false;
	return take(&rate->due_ns, now_ns, interval_ns);
}

/*
 * Whether there is room for one more sighting of whom this packet is to be charged to. entry_kind: kind of the interface where the packet's
 * way on this node begins, 0 when this is a later hook. place: this hook's in the flow, 0 when it is new here, or a drop.
 */
static __always_inline bool is_within_rate(const struct ktrace_sighting *s, struct scratch *scratch,
					   struct ktrace_flow_place *place, __u32 entry_kind, __u64 skb)
{
	__u64 interval_ns = cfg_told_interval_ns;
	struct ktrace_rate *rate, fresh = {};
	bool is_every, is_taken;

	if (!interval_ns)
		return true;
	if (!entry_kind && was_cut(s, scratch, skb))
		return false;
	set_rate_key(s, scratch, entry_kind);
	rate = bpf_map_lookup_elem(&rates, &scratch->cut.key);
	if (!rate) {
		bpf_map_update_elem(&rates, &scratch->cut.key, &fresh, BPF_NOEXIST);
		rate = bpf_map_lookup_elem(&rates, &scratch->cut.key);
		if (!rate)
			return true;
	}
	is_every = is_of_every(s, rate, entry_kind);
	if (is_every) {
		interval_ns /= RATE_EVERY_PACKET;
		if (entry_kind)
			begin_every(s, rate, place);
	}
	if (scratch->cut.key.rate_class >= KTRACE_RATE_LATER_IN)
		interval_ns /= RATE_LATER;
	is_taken = takes_of_all(s, scratch, rate, place, interval_ns, is_every);
	if (entry_kind && s->flags & KTRACE_EVERY)
		note_fullness(s, rate, place, is_taken, is_every);
	if (is_taken) {
		/* An earlier packet may have left its mark on this sk_buff. */
		if (entry_kind && s->time_ns <= last_cut_ns + CUT_LASTS_NS)
			bpf_map_delete_elem(&cuts, &skb);
		return true;
	}
	__sync_fetch_and_add(&rate->cut, 1);
	if (entry_kind) {
		scratch->cut.mark = mark_of(s);
		scratch->cut.time_ns = s->time_ns;
		bpf_map_update_elem(&cuts, &skb, &scratch->cut, BPF_ANY);
		last_cut_ns = s->time_ns;
	}
	return false;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * The flow table: one entry for each direction of a conversation, shared by the hooks that it passes on this node. Each hook has a place in it, with
 * what it has told; the counters are shared, and only one hook counts a packet.
 */
#ifndef KTRACE_FLOW_H
#define KTRACE_FLOW_H

#include <stdbool.h>
#include "flow/conntrack.h"
#include "base/event.h"
#include "base/maps.h"
#include "base/ticks.h"
#include "packet/tunnel.h"

/* User space makes room every two seconds. */
#define FLOWS_FULL_LASTS_NS 100000000ULL

/* ktrace_flow_place.state */
#define PLACE_TRANSLATED 1 /* the hash is also of who answers */
#define PLACE_EVERY 2 /* its packets have KTRACE_EVERY */
#define PLACE_BEHIND 4 /* neither address is followed: its follower is behind a translation */
#define PLACE_FLAGS 7

/* With a place's number: the node itself has made the packet. */
#define OF_NODE 0x100

/* A number below 64. */
static __always_inline __u32 slot_of(const struct ktrace_tuple *tuple)
{
	__u32 ports = (__u32)tuple->sport << 16 | tuple->dport;

	return (tuple->src[3] * 0x85ebca6b + tuple->dst[3] * 0xc2b2ae35 + ports) * 0x9e3779b1 >> 26;
}

static __always_inline struct looked_up *looked_up_slot(const struct ktrace_flow_key *key)
{
	__u32 slot = slot_of(&key->tuple);

	return bpf_map_lookup_elem(&last_looked_up, &slot);
}

/* Something is told of the flow: the packet's next hooks on this CPU look it up again. On another CPU they may pass it until the tick is over. */
static __always_inline void forget_looked_up(const struct ktrace_flow_key *key)
{
	struct looked_up *last = looked_up_slot(key);

	if (last)
		last->jiffies = 0;
}

/* Which place of the flow is this hook's; KTRACE_PLACES: none. */
static __always_inline __u32 inlined_place_at(const struct ktrace_flow *flow, __u32 ifindex, __u32 hook)
{
	__u32 out = hook == KTRACE_HOOK_TC_OUT;
	__u32 i;

#pragma unroll
	for (i = 0; i < KTRACE_PLACES; i += 2)
		if (flow->places[i + out].ifindex == ifindex)
			return i + out;
	return KTRACE_PLACES;
}

/*
 * A function of its own, as count_at and join_flow are: inlined, the verifier goes through all that follows once for each place, and loading takes a
 * second. Only what is counted and done with has it inlined.
 */
__noinline int place_at(const struct ktrace_flow *flow, __u32 ifindex, __u32 hook)
{
	return flow ? inlined_place_at(flow, ifindex, hook) : KTRACE_PLACES;
}

/* The place that a hook takes in a flow that it has none in. */
static __always_inline __u32 place_for(__u32 interface_kind, __u8 hook)
{
	__u32 kind = interface_kind ? interface_kind : KTRACE_INTERFACE_BRIDGE;

	return ((kind - 1) * 2 + (hook == KTRACE_HOOK_TC_OUT)) & (KTRACE_PLACES - 1);
}

/* A place of the flow; 0: it has none there. The barrier keeps the bound, which the compiler knows from the test, for the verifier. */
static __always_inline struct ktrace_flow_place *place_of(struct ktrace_flow *flow, __u32 at)
{
	if (at >= KTRACE_PLACES)
		return 0;
	asm volatile("" : "+r"(at));
	return &flow->places[at & (KTRACE_PLACES - 1)];
}

/* A pod's interface, or an uplink. */
static __always_inline bool is_end(__u32 place)
{
	return place <= KTRACE_PLACE_POD_OUT || place >= KTRACE_PLACE_UPLINK_IN;
}

static __always_inline __u32 own_hook_of(__u32 ifindex, __u8 hook)
{
	return ifindex << 1 | (hook == KTRACE_HOOK_TC_OUT);
}

static __always_inline __u32 hash_of_entry(unsigned long nfct, bool is_translated)
{
	__u64 entry = nfct & ~NFCT_INFO_MASK;
	__u32 hash;

	if (!entry)
		return 0;
	hash = entry * 0x9e3779b97f4a7c15ULL >> 32;
	if (is_translated)
		hash ^= answers_from_of(nfct);
	return (hash & ~PLACE_FLAGS) | (PLACE_FLAGS + 1);
}

/* Whether the packet's conntrack entry is the one that the flow had at this hook. */
static __always_inline bool is_same_entry(const struct ktrace_flow_place *place, unsigned long nfct)
{
	return (place->state & ~PLACE_FLAGS) == hash_of_entry(nfct, place->state & PLACE_TRANSLATED);
}

/* The flow is as this packet is, matched against that target set. kinds: see tuple_kinds. */
static __always_inline void set_place(struct ktrace_flow_place *place, const struct ktrace_sighting *s, __u32 kinds,
				      unsigned long nfct, __u32 generation)
{
	bool is_translated = nfct && s->ct_status & (IPS_SRC_NAT | IPS_DST_NAT);
	union {
		struct {
			__u32 generation, state;
		};
		__u64 both;
	} next = { .generation = generation };

	next.state = hash_of_entry(nfct, is_translated) | (is_translated ? PLACE_TRANSLATED : 0) |
		     (s->flags & KTRACE_EVERY ? PLACE_EVERY : 0) |
		     ((kinds | kinds >> 16) & KTRACE_ADDRESS_FOLLOWED ? 0 : PLACE_BEHIND);
	/* At once: another CPU may do the same for a newer target set. */
	*(volatile __u64 *)&place->generation = next.both;
}

/*
 * Who counts a packet of this flow: each pod's interface for itself; the uplink where it comes in, unless a pod's interface sends it on; else the uplink
 * where it goes out, unless it has come from either. A pod that sends under the same addresses changes nothing of what comes in, nor of what the node
 * itself sends (is_nodes). Other hooks leave even the time alone, unless nobody counts. now_ns: 0 has the clock read, where it is needed.
 */
static __always_inline void inlined_count_at(struct ktrace_flow *flow, __u32 at, bool is_nodes, __u64 packets,
					     __u64 bytes, __u64 now_ns)
{
	const struct ktrace_flow_place *places = flow->places;
	__u32 pod_in = places[KTRACE_PLACE_POD_IN].ifindex, pod_out = places[KTRACE_PLACE_POD_OUT].ifindex;
	__u32 uplink_in = places[KTRACE_PLACE_UPLINK_IN].ifindex;
	struct ktrace_flow_count *count = 0;

	if (at == KTRACE_PLACE_POD_IN)
		count = &flow->counts[KTRACE_COUNTED_POD_IN];
	else if (at == KTRACE_PLACE_POD_OUT)
		count = &flow->counts[KTRACE_COUNTED_POD_OUT];
	else if (at == KTRACE_PLACE_UPLINK_IN ? !pod_out
					      : at == KTRACE_PLACE_UPLINK_OUT && (is_nodes || (!pod_in && !uplink_in)))
		count = &flow->counts[KTRACE_COUNTED_UPLINK];
	else if (pod_in || pod_out || uplink_in || places[KTRACE_PLACE_UPLINK_OUT].ifindex)
		return;
	if (count) {
		__sync_fetch_and_add(&count->packets, packets);
		__sync_fetch_and_add(&count->bytes, bytes);
	}
	flow->last_ns = now_ns ? now_ns : coarse_ns();
}

/* at_flags: the place, and OF_NODE. */
__noinline int count_at(struct ktrace_flow *flow, __u32 at_flags, __u64 packets, __u64 bytes, __u64 now_ns)
{
	if (flow)
		inlined_count_at(flow, at_flags & ~OF_NODE, at_flags & OF_NODE, packets, bytes, now_ns);
	return 0;
}

/* This hook's flow, by a key without own_hook; its place in *at. 0: it has none there. */
static __always_inline struct ktrace_flow *known_flow(struct ktrace_flow_key *key, __u32 ifindex, __u8 hook, __u32 *at)
{
	struct ktrace_flow *flow = bpf_map_lookup_elem(&flows, key);

	if (!flow)
		return 0;
	*at = inlined_place_at(flow, ifindex, hook);
	if (*at < KTRACE_PLACES)
		return flow;
	if (!flow->has_more)
		return 0;
	key->own_hook = own_hook_of(ifindex, hook);
	flow = bpf_map_lookup_elem(&flows, key);
	if (!flow)
		return 0;
	*at = place_at(flow, ifindex, hook);
	return *at < KTRACE_PLACES ? flow : 0;
}

/*
 * The packet's flow as this hook has it, and the hook's place in it: KTRACE_PLACES when the flow is new here. Sets scratch->flow_key. A place that
 * another interface has taken is left to it: a pod that sends under another one's address must not take over what is counted of that.
 */
static __always_inline struct ktrace_flow *find_flow(const struct ktrace_sighting *s, struct scratch *scratch,
						     __u32 *at)
{
	struct ktrace_flow_key *key = &scratch->flow_key;
	struct ktrace_interface *interface;
	struct ktrace_flow *flow;

	*at = KTRACE_PLACES;
	__builtin_memset(key, 0, sizeof(*key));
	key->tuple = s->tuple;
	key->proto = s->proto;
	flow = bpf_map_lookup_elem(&flows, key);
	if (!flow)
		return 0;
	*at = place_at(flow, s->ifindex, s->hook);
	if (*at < KTRACE_PLACES)
		return flow;
	interface = bpf_map_lookup_elem(&interfaces, &s->ifindex);
	if (!flow->places[place_for(interface ? interface->kind : 0, s->hook)].ifindex)
		return flow;
	flow->has_more = 1;
	key->own_hook = own_hook_of(s->ifindex, s->hook);
	flow = bpf_map_lookup_elem(&flows, key);
	if (flow)
		*at = place_at(flow, s->ifindex, s->hook);
	return flow;
}

/* Whether one more flow of the interface fits into its part of the table. share: how much of that flows like this one may have, as a divisor. */
static __always_inline bool has_room(const struct ktrace_interface *interface, __u64 now_ns, __u32 share)
{
	bool is_pod = interface && interface->kind == KTRACE_INTERFACE_POD;
	__u32 most = (is_pod ? cfg_flows_of_pod : cfg_flows_of_shared) / share;

	return now_ns >= flows_full_ns + FLOWS_FULL_LASTS_NS && (!interface || interface->flows < most);
}

static __always_inline void take_place(struct ktrace_flow *flow, __u32 at, bool is_nodes,
				       const struct ktrace_sighting *s, __u32 kinds, unsigned long nfct,
				       __u32 generation)
{
	struct ktrace_flow_place *place = &flow->places[at & (KTRACE_PLACES - 1)];

	set_place(place, s, kinds, nfct, generation);
	place->told_due = s->time_ns >> 10;
	place->ifindex = s->ifindex;
	count_at(flow, is_nodes ? at | OF_NODE : at, s->gso_segs, s->len, s->time_ns);
}

/*
 * Gives this hook its place in the flow of the sighting in the scratch memory; without a flow opens it, where there is room. share: see has_room;
 * is_nodes: see count_at. A function of its own, called for what is new alone; the keys of a look-up may not lie in its caller's memory before 6.2, so it
 * finds that itself.
 */
__noinline int join_flow(struct ktrace_flow *flow, __u64 nfct, __u32 generation, __u32 share, bool is_nodes)
{
	__u32 zero = 0, at, taken_by;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);
	struct ktrace_interface *interface;
	struct ktrace_sighting *s;

	if (!scratch)
		return 0;
	forget_looked_up(&scratch->flow_key);
	s = &scratch->filtered.sighting;
	interface = bpf_map_lookup_elem(&interfaces, &s->ifindex);
	at = place_for(interface ? interface->kind : 0, s->hook);
	if (!flow) {
		if (!has_room(interface, s->time_ns, share)) {
			COUNT(flow_table_full);
			return 0;
		}
		__builtin_memset(&scratch->flow, 0, sizeof(scratch->flow));
		scratch->flow.opened_at = s->ifindex;
		take_place(&scratch->flow, at, is_nodes, s, scratch->kinds, nfct, generation);
		if (!bpf_map_update_elem(&flows, &scratch->flow_key, &scratch->flow, BPF_NOEXIST)) {
			if (interface)
				__sync_fetch_and_add(&interface->flows, 1);
			return 0;
		}
		/* Another CPU has opened it meanwhile, or the table is full, or there is no memory for it at this moment. */
		flow = bpf_map_lookup_elem(&flows, &scratch->flow_key);
		if (!flow) {
			flows_full_ns = s->time_ns;
			COUNT(flow_table_full);
			return 0;
		}
	}
	taken_by = flow->places[at & (KTRACE_PLACES - 1)].ifindex;
	if (!taken_by || taken_by == s->ifindex)
		take_place(flow, at, is_nodes, s, scratch->kinds, nfct, generation);
	return 0;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * Packets that are cut without a closer look where they enter the node (is_counted): the CPU remembers them as cut for their later hooks, and to whom they are
 * charged.
 */
#ifndef KTRACE_CUT_H
#define KTRACE_CUT_H

#include <stdbool.h>
#include "base/event.h"
#include "base/maps.h"
#include "base/ticks.h"
#include "flow/entered.h"
#include "packet/address.h"

/*
 * The number of the element of pod_cuts that is the interface's, from 1 on; 0: another one has it, and what is to be charged to this one has to be looked at
 * closely. The same below for an address.
 */
static __always_inline __u32 charged_to_interface(__u32 ifindex)
{
	__u32 at = ifindex & (POD_CUTS - 1);
	struct ktrace_pod_cut *pod = &pod_cuts[at];

	if (pod->ifindex != ifindex && __sync_val_compare_and_swap(&pod->ifindex, 0, ifindex))
		return 0;
	return at + 1;
}

static __always_inline bool is_followed_address(const __u32 *words)
{
	struct ktrace_target *target;
	struct address key;

	__builtin_memcpy(&key, words, sizeof(key));
	target = bpf_map_lookup_elem(&targets, &key);
	return target && target->kinds & KTRACE_ADDRESS_FOLLOWED;
}

/* Once an address has it, user space may read the address. An address that is not followed, and has a followed one's bit, may not have it: it may be forged. */
static __always_inline __u32 charged_to_address(const __u32 *words)
{
	__u32 at = POD_CUTS + (bit_of(words[0], words[1], words[2], words[3]) & (POD_CUTS - 1));
	struct ktrace_pod_cut *pod = &pod_cuts[at];

	if (pod->state == KTRACE_POD_CUT_ADDRESS)
		return is_same_address(pod->address, words) ? at + 1 : 0;
	if (!is_followed_address(words) || __sync_val_compare_and_swap(&pod->state, 0, KTRACE_POD_CUT_TAKEN))
		return 0;
	__builtin_memcpy(pod->address, words, sizeof(pod->address));
	__sync_val_compare_and_swap(&pod->state, KTRACE_POD_CUT_TAKEN, KTRACE_POD_CUT_ADDRESS);
	return at + 1;
}

/* charged: as given by the two above. */
static __always_inline void charge_cut(__u32 charged)
{
	__u32 at = charged - 1;

	asm volatile("" : "+r"(at));
	__sync_fetch_and_add(&pod_cuts[at & (2 * POD_CUTS - 1)].cut, 1);
}

/* As long as a packet is on its way through a node without being held up. */
#define CUT_AT_ONCE_LASTS_NS (3 * COARSE_NS)

static __always_inline struct cut_at_once *cut_slot(__u64 skb)
{
	__u32 slot;

	/* A number to the verifier, as in entered_slot. The slab gives out addresses that lie apart by powers of two. */
	asm volatile("%0 = %1" : "=w"(slot) : "w"((__u32)skb));
	slot = (slot * 0x9e3779b1) >> 24 & (CUT_AT_ONCE_SLOTS - 1);
	return bpf_map_lookup_elem(&cuts_at_once, &slot);
}

/* What NAT and tunnels keep, by which a packet is told from the next one with its sk_buff. len: of its IP packet; seq: TCP's, else 0. */
static __always_inline __u32 cut_mark(__u32 len, __u32 ip_id, __u32 proto, __u32 seq)
{
	return (len << 16 | (ip_id & 0xffff)) ^ proto << 8 ^ seq;
}

static __always_inline void note_cut(__u64 skb, __u32 mark, __u32 charged, __u64 now_ns)
{
	struct cut_at_once *cut = cut_slot(skb);

	if (!cut)
		return;
	/* A drop in an interrupt may look meanwhile. */
	cut->skb = 0;
	asm volatile("" ::: "memory");
	cut->time_ns = now_ns;
	cut->mark = mark;
	cut->charged = charged;
	asm volatile("" ::: "memory");
	cut->skb = skb;
}

/* Another packet has its sk_buff. */
static __always_inline void forget_cut(__u64 skb)
{
	struct cut_at_once *cut = cut_slot(skb);

	if (cut && cut->skb == skb)
		cut->skb = 0;
}

/*
 * To whom a packet is charged that was cut where it came in; 0: it was not. Only the CPU where it came in knows: what goes on to another one is told at its
 * later hooks, as far as there is room.
 */
static __always_inline __u32 charged_before(__u64 skb, __u32 mark, __u64 now_ns)
{
	const struct cut_at_once *cut = cut_slot(skb);

	return cut && cut->skb == skb && cut->mark == mark && now_ns <= cut->time_ns + CUT_AT_ONCE_LASTS_NS
		       ? cut->charged
		       : 0;
}

/* For what is looked at closely at a later hook: in a tunnel of which is_counted knows nothing, of a flow that is new there, in the stack's hands. Charges it. */
__noinline int was_cut_unseen(struct scratch *scratch)
{
	struct ktrace_sighting *s;
	__u32 charged;

	if (!scratch)
		return 0;
	s = &scratch->filtered.sighting;
	charged = charged_before(s->skb, cut_mark(s->len, s->ip_id, s->proto, s->tcp_seq), s->time_ns);
	if (charged)
		charge_cut(charged);
	return charged != 0;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Packets that the kernel frees without having delivered them: their addresses, network namespace and drop reason. */
#ifndef KTRACE_DROP_H
#define KTRACE_DROP_H

#include <linux/if_ether.h>
#include <bpf/bpf_core_read.h>
#include "flow/conntrack.h"
#include "base/kernel.h"
#include "base/maps.h"
#include "hook/match.h"
#include "packet/parse.h"
#include "hook/sight.h"
#include "packet/tunnel.h"

/* UDP keeps other things in skb->dev once a packet is queued: only what looks like a kernel address is one. */
static __always_inline bool is_kernel_address(const void *pointer)
{
	return (__u64)(unsigned long)pointer >> 56 == 0xff;
}

static __always_inline __u32 netns_of_device(const struct net_device *dev)
{
	return is_kernel_address(dev) ? BPF_CORE_READ(dev, nd_net.net, ns.inum) : 0;
}

/* By the socket, else by the route, else by the device; 0 when none of them has one. */
static __always_inline __u32 netns_of(const struct sk_buff *skb, const struct sock *receiver)
{
	const struct dst_entry *dst;
	__u32 netns = receiver ? BPF_CORE_READ(receiver, __sk_common.skc_net.net, ns.inum) : 0;

	/* Not instead of the test above, see was_taken_in. */
	if (!netns)
		netns = BPF_CORE_READ(skb, sk, __sk_common.skc_net.net, ns.inum);
	if (netns)
		return netns;
	dst = (const struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_NOREF);
	if (dst && !(BPF_CORE_READ(dst, flags) & DST_METADATA))
		netns = netns_of_device(BPF_CORE_READ(dst, dev));
	return netns ? netns : netns_of_device(BPF_CORE_READ(skb, dev));
}

/*
 * tcp_v4_rcv and tcp_v6_rcv free what a closed connection has taken in (do_time_wait) as if it was dropped, but without a reason, and so what belongs to
 * a connection that is being opened (tcp_check_req): there the receiver is the listener, and only for want of room in its queue it is a drop. The
 * receiver is read as memory: before 6.13 (838a10bd2ebf) the verifier takes it for never null, and removes the test.
 */
static __always_inline bool was_taken_in(const struct sock *receiver, __u32 reason)
{
	__u8 state;

	if (reason != cfg_reason_not_specified || !receiver)
		return false;
	state = BPF_CORE_READ(receiver, __sk_common.skc_state);
	if (state == TCP_LISTEN)
		return BPF_CORE_READ(receiver, sk_ack_backlog) <= BPF_CORE_READ(receiver, sk_max_ack_backlog);
	return state == TCP_TIME_WAIT;
}

static __always_inline bool is_ours(__u32 netns)
{
	return netns == cfg_netns || bpf_map_lookup_elem(&pod_netns, &netns);
}

static __always_inline int ifindex_of(const struct sk_buff *skb)
{
	const struct net_device *dev = BPF_CORE_READ(skb, dev);

	return is_kernel_address(dev) ? BPF_CORE_READ(dev, ifindex) : 0;
}

/* What the first look at a packet says. */
enum look {
	LOOK_NOBODYS = 0,
	LOOK_BEHIND, /* of a node's or a Service's address, TCP or UDP: a follower's only behind a translation */
	LOOK_CLOSER,
};

/* The bytes behind the packet's end are not its own, but are the kernel's: the sk_buff's shared info follows its linear bytes. */
union first_bytes {
	struct iphdr ip;
	struct ipv6hdr ip6;
	__u8 bytes[sizeof(struct ipv6hdr) + 4];
};

/*
 * As may_match, for a packet in the stack, from its IP header on, by one helper: most packets that are freed are loopback's and the node's own, and no
 * follower's. header: into first, set where the look is LOOK_BEHIND.
 */
static __always_inline enum look look_at(const struct source *source, union first_bytes *first,
					 struct fast_header *header)
{
	const __u8 *end;
	__u32 bytes = source->end;

	/* What is learned of a copy here, the verifier must not take to all that follows. */
	asm volatile("%0 ^= 0" : "+r"(bytes));
	end = first->bytes + (bytes < sizeof(*first) ? bytes : sizeof(*first));
	if (source->end < sizeof(struct iphdr) || bpf_probe_read_kernel(first, sizeof(*first), source->from))
		return LOOK_NOBODYS;
	if (first->ip.version == 4
		    ? !ipv4_may_match(first, end)
		    : first->ip.version != 6 || source->end < sizeof(struct ipv6hdr) || !ipv6_may_match(first, end))
		return LOOK_NOBODYS;
	return is_behind_at_most(first, end, header) ? LOOK_BEHIND : LOOK_CLOSER;
}

/*
 * Whether an end of the connection is followed, before or after its translation; also where its entry cannot be read. Not inlined, as may_be_translated:
 * this one's tuple and that one's key would make the program's stack, and those of the parsers that it calls, more than the 512 bytes that the verifier
 * allows together.
 */
static __noinline bool is_of_followed_entry(unsigned long nfct)
{
	const struct nf_conn *ct = (const struct nf_conn *)(nfct & ~NFCT_INFO_MASK);
	struct nf_conntrack_tuple tuple = {};

	/* Not in a loop: with an index that is no constant the second would be looked for behind an element of this declaration's size, not the kernel's. */
	if (bpf_core_read(&tuple, sizeof(tuple), &ct->tuplehash[0].tuple) || is_of_followed_tuple(&tuple))
		return true;
	return bpf_core_read(&tuple, sizeof(tuple), &ct->tuplehash[1].tuple) || is_of_followed_tuple(&tuple);
}

/* Whether drop_is_matched can find a follower's packet behind the addresses of nodes and Services: by two look-ups instead of all that is done for one. */
static __noinline bool may_be_translated(const struct fast_header *header, unsigned long nfct)
{
	struct ktrace_remembered_key key = {};

	set_fast_tuple(&key.tuple, header);
	key.proto = header->proto;
	if (leads_to_followed(key.tuple.dst, key.tuple.dport, key.proto))
		return true;
	if (nfct & ~NFCT_INFO_MASK)
		return is_of_followed_entry(nfct);
	return bpf_map_lookup_elem(&remembered, &key);
}

static __always_inline bool drop_is_matched(struct ktrace_sighting *s, struct scratch *scratch, unsigned long nfct)
{
	__u32 kinds = tuple_kinds(&s->tuple);

	scratch->kinds = kinds;
	kinds = kinds | kinds >> 16;

	if (nfct)
		read_conntrack(nfct, s);
	else if (s->flags & KTRACE_QUOTED)
		recall_quoted(s, scratch);
	else if (kinds & (KTRACE_ADDRESS_SERVICE | KTRACE_ADDRESS_NODE))
		recall(s, scratch, false);
	return kinds & KTRACE_ADDRESS_FOLLOWED ||
	       (s->flags & KTRACE_CONNTRACK &&
		(is_followed_tuple(&s->ct_original) || is_followed_tuple(&s->ct_reply))) ||
	       (s->flags & KTRACE_QUOTED && is_followed_tuple(&s->quoted)) ||
	       leads_to_followed(s->tuple.dst, s->tuple.dport, s->proto);
}

static __always_inline bool has_vlan(const struct sk_buff *skb)
{
	const struct sk_buff___vlan_bit *before_6_2 = (const void *)skb;

	if (bpf_core_field_exists(before_6_2->vlan_present))
		return BPF_CORE_READ_BITFIELD_PROBED(before_6_2, vlan_present);
	return BPF_CORE_READ(skb, vlan_all);
}

/*
 * A number in an sk_buff. With tp_btf the verifier knows the type, and it is loaded without a helper. Pointers are read as memory by all: they may
 * be something else (UDP's skb->dev, the fragments' skb->sk before 6.9), and the verifier lets nothing be computed with them.
 */
#define NUMBER(skb, is_typed, field) ((is_typed) ? (skb)->field : BPF_CORE_READ(skb, field))

/* Where a packet's linear bytes from L3 on are; false when the kernel has not set it. Offsets are from skb->head, tail as well where pointers have 64 bits. */
static __always_inline bool locate(const struct sk_buff *skb, const bool is_typed, struct source *source)
{
	__u32 network_header = NUMBER(skb, is_typed, network_header);

	if (!network_header || network_header == 0xffff)
		return false;
	source->from = BPF_CORE_READ(skb, head) + network_header;
	source->end = NUMBER(skb, is_typed, tail) - network_header;
	return source->end <= 65536;
}

/* How many packets of the wire it stands for. */
static __always_inline __u16 segments_of(const struct sk_buff *skb)
{
	const struct skb_shared_info *shared = (const void *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end));
	__u16 segments = BPF_CORE_READ(shared, gso_segs);

	return segments ? segments : 1;
}

/* How it is parsed. What a pod has made in its own namespace is no tunnel's packet of the node. */
static __always_inline void prepare(const struct sk_buff *skb, __u32 netns, struct parsed *at)
{
	__u32 came_in = BPF_CORE_READ(skb, skb_iif);

	at->opens = netns == cfg_netns ? opens_of(came_in) : OPENS_NOTHING;
	at->place = netns == cfg_netns ? came_in : netns;
}

static __always_inline void see_drop(const struct sk_buff *skb, void *location, __u32 reason,
				     const struct sock *receiver)
{
	__u32 one = 1, netns;
	struct source source = { .tc = false };
	struct scratch *scratch;
	struct ktrace_sighting *s;
	struct parsed at = {};
	unsigned long nfct = cfg_conntrack ? skb->_nfct : 0;
	struct fast_header header;
	union first_bytes first;
	enum look look;

	if (!locate(skb, true, &source))
		return;
	look = look_at(&source, &first, &header);
	if (look == LOOK_NOBODYS || (look == LOOK_BEHIND && !may_be_translated(&header, nfct)))
		return;
	/* Before it is parsed: where several nodes are one kernel's, what is dropped is mostly the others'. */
	netns = netns_of(skb, receiver);
	if (netns && !is_ours(netns)) {
		COUNT(drop_foreign);
		return;
	}
	scratch = bpf_map_lookup_elem(&scratches, &one);
	if (!scratch) {
		COUNT(matched);
		COUNT(lost_scratch);
		return;
	}
	s = &scratch->filtered.sighting;
	__builtin_memset(s, 0, __builtin_offsetof(struct ktrace_sighting, data));
	s->time_ns = bpf_ktime_get_ns();
	prepare(skb, netns, &at);
	if (parse_packet_in_memory((__u64)(unsigned long)source.from, source.end, source.end + skb->data_len, s, &at)) {
		COUNT(unparsed);
		return;
	}
	if (!drop_is_matched(s, scratch, s->tunnel_kind ? 0 : nfct)) {
		COUNT(unmatched);
		return;
	}
	note_wishes(s);
	if (!netns) {
		COUNT(drop_undecided);
		return;
	}
	COUNT(matched);
	s->hook = KTRACE_HOOK_DROP;
	s->netns = netns;
	s->ifindex = ifindex_of(skb);
	s->gso_segs = segments_of(skb);
	if (has_vlan(skb)) {
		s->flags |= KTRACE_VLAN;
		s->vlan_tci = BPF_CORE_READ(skb, vlan_tci);
	}
	s->skb = (__u64)(unsigned long)skb;
	s->drop_location = (__u64)(unsigned long)location;
	s->drop_reason = reason;
	if (!skb->skb_iif)
		forget_cut(s->skb);
	if (!is_within_rate(s, scratch, 0, 0, s->skb)) {
		COUNT(cut);
		return;
	}
	if (s->proto == IPPROTO_UDP || s->proto == IPPROTO_SCTP)
		hash_payload(&source, &at, s);
	capture(&source, &at, s);
	emit_whole(s, scratch);
}

#endif

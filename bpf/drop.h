/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Packets that the kernel frees without having delivered them: their addresses, network namespace and drop reason. */
#ifndef KTRACE_DROP_H
#define KTRACE_DROP_H

#include <linux/if_ether.h>
#include <bpf/bpf_core_read.h>
#include "conntrack.h"
#include "kernel.h"
#include "maps.h"
#include "match.h"
#include "parse.h"
#include "sight.h"
#include "tunnel.h"

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

/*
 * As may_match, for a packet in the stack, from its IP header on. It looks nothing up by a helper: most packets that are freed are loopback's and the
 * node's own, and no follower's. A header that cannot be read here is left to the parser.
 */
static __always_inline bool may_match_in_memory(const struct source *source)
{
	struct iphdr ip;
	struct ipv6hdr ip6;
	__u8 type;

	if (load(source, 0, &ip, sizeof(ip)))
		return false;
	if (ip.version == 4) {
		if (has_bit_ipv4(ip.saddr) || has_bit_ipv4(ip.daddr))
			return true;
		return ip.protocol == IPPROTO_ICMP && (load(source, ip.ihl * 4, &type, 1) || is_icmp_error(4, type));
	}
	if (ip.version != 6 || load(source, 0, &ip6, sizeof(ip6)))
		return false;
	if (has_bit_ipv6(&ip6.saddr) || has_bit_ipv6(&ip6.daddr))
		return true;
	/* An error behind its header, or something behind an extension header. */
	return ip6.nexthdr != IPPROTO_TCP && ip6.nexthdr != IPPROTO_UDP;
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
		recall(s, scratch);
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

/* Where a packet's linear bytes from L3 on are; false when the kernel has not set it. */
static __always_inline bool locate(const struct sk_buff *skb, struct source *source)
{
	__u32 linear, network_header = BPF_CORE_READ(skb, network_header);
	unsigned char *head = BPF_CORE_READ(skb, head), *data = BPF_CORE_READ(skb, data);

	if (!network_header || network_header == 0xffff)
		return false;
	linear = BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len);
	source->from = head + network_header;
	source->end = data + linear - (head + network_header);
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
	unsigned long nfct = 0;

	if (!locate(skb, &source) || !may_match_in_memory(&source))
		return;
	scratch = bpf_map_lookup_elem(&scratches, &one);
	if (!scratch) {
		COUNT(matched);
		COUNT(lost_scratch);
		return;
	}
	s = &scratch->filtered.sighting;
	__builtin_memset(s, 0, __builtin_offsetof(struct ktrace_sighting, data));
	s->time_ns = bpf_ktime_get_ns();
	netns = netns_of(skb, receiver);
	prepare(skb, netns, &at);
	if (parse_packet_in_memory((__u64)(unsigned long)source.from, source.end,
				   source.end + BPF_CORE_READ(skb, data_len), s, &at)) {
		COUNT(unparsed);
		return;
	}
	if (!s->tunnel_kind)
		nfct = conntrack_of(skb);
	if (!drop_is_matched(s, scratch, nfct)) {
		COUNT(unmatched);
		return;
	}
	note_wishes(s);
	if (!netns) {
		COUNT(drop_undecided);
		return;
	}
	if (!is_ours(netns)) {
		COUNT(drop_foreign);
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
	if (!is_within_rate(s, scratch, 0, 0, s->skb)) {
		COUNT(cut);
		return;
	}
	s->drop_location = (__u64)(unsigned long)location;
	s->drop_reason = reason;
	if (s->proto == IPPROTO_UDP || s->proto == IPPROTO_SCTP)
		hash_payload(&source, &at, s);
	capture(&source, &at, s);
	emit_whole(s, scratch);
}

#endif

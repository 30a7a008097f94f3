/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* What is done with a packet that passed the bit set at a tc hook: match, count, and tell what is new. */
#ifndef KTRACE_SIGHT_H
#define KTRACE_SIGHT_H

#include <linux/in.h>
#include "conntrack.h"
#include "event.h"
#include "kernel.h"
#include "maps.h"
#include "match.h"
#include "parse.h"

#define TCP_SYN_FIN_RST 0x07

static __always_inline void capture(const struct source *source, const struct parsed *at, struct ktrace_sighting *s)
{
	__u32 len = at->end - at->l3;

	if (len > s->len)
		len = s->len;
	if (len > KTRACE_DATA_BYTES)
		len = KTRACE_DATA_BYTES;
	/*
	 * An empty barrier: the compiler must not forget the bound that it has just proven. The last byte's index bounds both ends at once:
	 * before 6.4 the verifier learns nothing from a comparison with zero.
	 */
	len -= 1;
	asm volatile("" : "+r"(len));
	if (len >= KTRACE_DATA_BYTES)
		return;
	len += 1;
	if (load(source, at->l3, s->data, len))
		return;
	s->data_len = len;
}

/*
 * The reader comes by a timer. It is woken when the ring's fill passes a mark, and then not again until it has passed it anew: a wake-up costs
 * more than the rest of the program, so a reader that cannot keep up must not be woken for every record.
 */
static __always_inline void emit(struct ktrace_sighting *s)
{
	__u64 fill = bpf_ringbuf_query(&sightings, BPF_RB_AVAIL_DATA);
	bool passes = fill >= cfg_wake_bytes && fill < cfg_wake_bytes + 2 * sizeof(*s);

	if (bpf_ringbuf_output(&sightings, s, sizeof(*s), passes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP))
		COUNT(lost_ring);
	else
		COUNT(emitted);
}

/* Whether a follower wants this packet; sets KTRACE_PROVISIONAL when only its translation, not known yet, can tell. */
static __always_inline bool is_matched(struct ktrace_sighting *s, struct scratch *scratch, unsigned long nfct)
{
	__u32 kinds = tuple_kinds(&s->tuple), src = kinds & 0xffff, dst = kinds >> 16;

	if (nfct)
		read_conntrack(nfct, s);
	else if ((src | dst) & (KTRACE_ADDRESS_SERVICE | KTRACE_ADDRESS_NODE))
		recall(s, scratch);
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

static __always_inline bool is_always_told(const struct ktrace_sighting *s)
{
	return s->proto == IPPROTO_ICMP || s->proto == IPPROTO_ICMPV6 ||
	       (s->proto == IPPROTO_TCP && s->tcp_flags & TCP_SYN_FIN_RST) || every_packet;
}

static __always_inline void count_in(struct ktrace_flow *flow, const struct ktrace_sighting *s)
{
	/* One hook counts a flow: its pod's own interface, or the uplink for flows that have none on this node. */
	if (flow->interface_kind == KTRACE_INTERFACE_POD || flow->interface_kind == KTRACE_INTERFACE_UPLINK) {
		__sync_fetch_and_add(&flow->packets, s->gso_segs);
		__sync_fetch_and_add(&flow->bytes, s->len);
	}
	flow->last_ns = s->time_ns;
}

static __always_inline void open_flow(struct ktrace_sighting *s, struct scratch *scratch, unsigned long nfct)
{
	struct ktrace_flow *flow = &scratch->flow;
	__u32 *kind = bpf_map_lookup_elem(&interfaces, &s->ifindex);

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->first_ns = s->time_ns;
	flow->nfct = nfct & ~NFCT_INFO_MASK;
	flow->generation = target_generation;
	flow->interface_kind = kind ? *kind : 0;
	count_in(flow, s);
	if (bpf_map_update_elem(&flows, &scratch->flow_key, flow, BPF_ANY))
		COUNT(flow_table_full);
}

static __always_inline bool is_entry(const struct ktrace_sighting *s)
{
	__u32 *kind;

	if (s->hook != KTRACE_HOOK_TC_INGRESS)
		return false;
	kind = bpf_map_lookup_elem(&interfaces, &s->ifindex);
	return kind && (*kind == KTRACE_INTERFACE_POD || *kind == KTRACE_INTERFACE_UPLINK);
}

/* Addresses, ports and TCP flags of a packet as it usually is; false when it is anything else. */
static __always_inline bool usual_key(void *l3, void *end, struct ktrace_flow_key *key, __u32 *len)
{
	struct iphdr *ip = l3;
	struct ipv6hdr *ip6 = l3;
	__u8 *l4;

	if ((void *)(ip + 1) > end)
		return false;
	if (ip->version == 4) {
		if (ip->ihl != 5 || ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))
			return false;
		set_ipv4(key->tuple.src, ip->saddr);
		set_ipv4(key->tuple.dst, ip->daddr);
		key->proto = ip->protocol;
		*len = bpf_ntohs(ip->tot_len);
		l4 = (void *)(ip + 1);
	} else {
		if ((void *)(ip6 + 1) > end || ip->version != 6)
			return false;
		set_ipv6(key->tuple.src, &ip6->saddr);
		set_ipv6(key->tuple.dst, &ip6->daddr);
		key->proto = ip6->nexthdr;
		*len = ip6->payload_len ? bpf_ntohs(ip6->payload_len) + sizeof(*ip6) : 0;
		l4 = (void *)(ip6 + 1);
	}
	if (l4 + 14 > (__u8 *)end)
		return false;
	key->tuple.sport = (__u16)l4[0] << 8 | l4[1];
	key->tuple.dport = (__u16)l4[2] << 8 | l4[3];
	if (key->proto == IPPROTO_TCP)
		return !(l4[13] & TCP_SYN_FIN_RST);
	return key->proto == IPPROTO_UDP;
}

/*
 * The way of most packets: a TCP segment or datagram of a flow that is known at this hook, with nothing new about it, is counted and done with.
 * No scratch memory, no header copied, one look-up. Also inside the node's own tunnels.
 */
static __always_inline bool is_counted(struct __sk_buff *skb, const __u32 l3, const __u8 hook)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *at = data + l3;
	struct ktrace_flow_key key = {};
	struct ktrace_flow *flow;
	struct iphdr *ip = at;
	unsigned long nfct = 0;
	__u32 inner = 0, kind, len = 0;

	if (every_packet || (void *)(ip + 1) > end)
		return false;
	if (ip->version == 4)
		inner = inner_offset(ip, end);
	if (!usual_key(at + inner, end, &key, &len))
		return false;
	key.ifindex = skb->ifindex;
	key.hook = hook;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || flow->generation != target_generation)
		return false;
	if (!inner)
		nfct = conntrack_of((const struct sk_buff *)skb) & ~NFCT_INFO_MASK;
	if (flow->nfct != nfct)
		return false;
	COUNT(matched);
	kind = flow->interface_kind;
	if (kind == KTRACE_INTERFACE_POD || kind == KTRACE_INTERFACE_UPLINK) {
		__sync_fetch_and_add(&flow->packets, skb->gso_segs ? skb->gso_segs : 1);
		if (!len || len > skb->len - l3 - inner)
			len = skb->len - l3 - inner;
		__sync_fetch_and_add(&flow->bytes, len);
	}
	flow->last_ns = bpf_ktime_get_coarse_ns();
	COUNT(counted);
	return true;
}

static __always_inline void see(struct __sk_buff *skb, const __u32 l3, const __u8 hook)
{
	const struct source source = { .tc = true, .from = skb };
	const struct sk_buff *kernel_skb = (const struct sk_buff *)skb;
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);
	struct ktrace_sighting *s;
	struct ktrace_flow *flow;
	struct parsed at = {};
	unsigned long nfct = 0;
	bool told;

	if (is_counted(skb, l3, hook))
		return;
	if (!scratch) {
		COUNT(matched);
		COUNT(lost_scratch);
		return;
	}
	s = &scratch->sighting;
	__builtin_memset(s, 0, __builtin_offsetof(struct ktrace_sighting, data));
	if (parse_packet_at_tc(skb, l3, s, &at)) {
		COUNT(unparsed);
		return;
	}
	s->hook = hook;
	s->ifindex = skb->ifindex;
	s->netns = cfg_netns;
	s->gso_segs = skb->gso_segs ? skb->gso_segs : 1;
	s->time_ns = bpf_ktime_get_ns();
	/* Inside a tunnel's outer packet the entry is the tunnel's, not the packet's. */
	if (!s->tunnel_kind)
		nfct = conntrack_of(kernel_skb);

	__builtin_memset(&scratch->flow_key, 0, sizeof(scratch->flow_key));
	scratch->flow_key.tuple = s->tuple;
	scratch->flow_key.ifindex = s->ifindex;
	scratch->flow_key.hook = hook;
	scratch->flow_key.proto = s->proto;
	flow = bpf_map_lookup_elem(&flows, &scratch->flow_key);
	told = is_always_told(s);
	if (flow && flow->generation == target_generation && flow->nfct == (nfct & ~NFCT_INFO_MASK) && !told &&
	    !every_packet) {
		COUNT(matched);
		count_in(flow, s);
		COUNT(counted);
		return;
	}
	if (!is_matched(s, scratch, nfct)) {
		COUNT(unmatched);
		return;
	}
	COUNT(matched);
	if (flow) {
		/* A new target set alone is nothing new about the packet's flow, a new translation is. */
		bool changed = flow->nfct != (nfct & ~NFCT_INFO_MASK) || flow->generation != target_generation;

		flow->generation = target_generation;
		flow->nfct = nfct & ~NFCT_INFO_MASK;
		count_in(flow, s);
		if (!changed && !told) {
			if (!every_packet) {
				COUNT(counted);
				return;
			}
			s->flags |= KTRACE_NOTHING_NEW;
		}
	} else if (!(s->flags & KTRACE_PROVISIONAL)) {
		open_flow(s, scratch, nfct);
		/*
		 * A remembered request was told at another hook: only its first packet, provisional here, was not counted at this one. The
		 * first reply is new all the same.
		 */
		if (s->flags & KTRACE_CT_REMEMBERED && !(s->flags & KTRACE_CT_REPLY) && !told) {
			if (!every_packet) {
				COUNT(counted);
				return;
			}
			s->flags |= KTRACE_NOTHING_NEW;
		}
	}
	if (s->flags & KTRACE_CONNTRACK && !(s->flags & KTRACE_CT_REMEMBERED))
		remember(s, scratch);
	if (is_entry(s))
		s->flags |= KTRACE_ENTRY;
	s->skb = (__u64)(unsigned long)kernel_skb;
	if (s->proto == IPPROTO_UDP || s->proto == IPPROTO_SCTP)
		hash_payload(&source, &at, s);
	capture(&source, &at, s);
	emit(s);
}

#endif

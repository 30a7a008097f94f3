/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Whether a packet is a follower's: first by the bit sets, without a helper call, then by the maps. */
#ifndef KTRACE_MATCH_H
#define KTRACE_MATCH_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "address.h"
#include "event.h"
#include "maps.h"
#include "parse.h"
#include "tunnel.h"

static __always_inline bool ipv4_may_match(void *l3, void *end)
{
	struct iphdr *ip = l3;
	__u8 *l4 = (void *)(ip + 1);

	if ((void *)(ip + 1) > end)
		return true;
	if (has_bit_ipv4(ip->saddr) || has_bit_ipv4(ip->daddr))
		return true;
	/* What an ICMP error quotes the body looks up, also behind options. */
	if (ip->protocol != IPPROTO_ICMP)
		return false;
	return ip->ihl != 5 || l4 + 1 > (__u8 *)end || is_icmp_error(4, *l4);
}

static __always_inline bool ipv6_may_match(void *l3, void *end)
{
	struct ipv6hdr *ip = l3;

	if ((void *)(ip + 1) > end)
		return true;
	if (has_bit_ipv6(&ip->saddr) || has_bit_ipv6(&ip->daddr))
		return true;
	/* The body reads what an ICMPv6 error quotes, and headers after an extension header. */
	return ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP;
}

static __always_inline bool ip_may_match(void *l3, void *end)
{
	__u8 *first = l3;

	if ((void *)(first + 1) > end)
		return true;
	/* No IP header: the body sees the outer packet. */
	if (*first >> 4 == 4)
		return (*first & 15) < 5 || ipv4_may_match(l3, end);
	return *first >> 4 != 6 || ipv6_may_match(l3, end);
}

/* Offset of the inner IP header from an outer one without options when this is a tunnel's packet of the node, else 0. */
static __always_inline __u32 inner_offset(struct __sk_buff *skb, struct iphdr *ip, void *end, const __u8 hook)
{
	__u8 *l4 = (void *)(ip + 1);
	enum opens opens;
	__u32 inner;

	if (ip->ihl != 5 || bpf_ntohs(ip->frag_off) & IPV4_OFFSET_MASK)
		return 0;
	if (ip->protocol == IPPROTO_UDP) {
		if (l4 + 4 > (__u8 *)end || !is_vxlan_port((__u16)l4[2] << 8 | l4[3]))
			return 0;
		inner = sizeof(*ip) + 16 + ETH_HLEN;
	} else if (is_ip_tunnel(ip->protocol)) {
		inner = sizeof(*ip);
	} else {
		return 0;
	}
	opens = opens_at(skb, hook);
	if (!opens || !is_of_node(0, 0, bpf_htonl(0xffff), opens == OPENS_TO_NODE ? ip->daddr : ip->saddr))
		return 0;
	return inner;
}

/* Some drivers leave all but the outer headers in fragments of the sk_buff. */
static __always_inline bool inner_may_match(struct __sk_buff *skb, __u32 offset, void *l3, void *end)
{
	__u8 header[sizeof(struct ipv6hdr)];

	if (l3 + sizeof(header) <= end || bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
		return ip_may_match(l3, end);
	return ip_may_match(header, header + sizeof(header));
}

/* False: no follower can be interested. True: look closer. */
static __always_inline bool may_match(struct __sk_buff *skb, const __u32 l3, const __u8 hook)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + l3;
	__u32 inner;

	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return ipv6_may_match(data + l3, end);
	if (skb->protocol != bpf_htons(ETH_P_IP) || !ipv4_may_match(ip, end))
		return false;
	if ((void *)(ip + 1) > end)
		return true;
	/* Only behind a bit: the outer packets of the node's tunnels have its own address, whose bit is set while anybody follows. */
	inner = inner_offset(skb, ip, end, hook);
	return !inner || inner_may_match(skb, l3 + inner, data + l3 + inner, end);
}

static __always_inline struct ktrace_target *target_of(const __u32 *words)
{
	struct address key;

	if (!has_bit_of(words))
		return 0;
	/* Before 6.2 a key may not lie in memory that came as an argument. */
	__builtin_memcpy(&key, words, sizeof(key));
	return bpf_map_lookup_elem(&targets, &key);
}

static __always_inline __u32 address_kind(const __u32 *words)
{
	struct ktrace_target *target = target_of(words);

	return target ? target->kinds : 0;
}

/* What both addresses of a tuple are to the followers: enum ktrace_address, of the source in the low half, of the destination in the high. */
__noinline int tuple_kinds(const struct ktrace_tuple *tuple)
{
	return tuple ? (int)(address_kind(tuple->src) | address_kind(tuple->dst) << 16) : 0;
}

static __always_inline bool is_followed_tuple(const struct ktrace_tuple *tuple)
{
	int kinds = tuple_kinds(tuple);

	return (kinds | kinds >> 16) & KTRACE_ADDRESS_FOLLOWED;
}

/* Notes what the followers of the packet's ends, before or after translation or quoted, ask for besides what is new. */
static __always_inline void note_wishes(struct ktrace_sighting *s)
{
	int kinds;

	if (!every_packet && !snap_bytes)
		return;
	kinds = tuple_kinds(&s->tuple);
	if (s->flags & KTRACE_CONNTRACK)
		kinds |= tuple_kinds(&s->ct_original) | tuple_kinds(&s->ct_reply);
	if (s->flags & KTRACE_QUOTED)
		kinds |= tuple_kinds(&s->quoted);
	kinds |= kinds >> 16;
	if (kinds & KTRACE_ADDRESS_EVERY)
		s->flags |= KTRACE_EVERY;
	/* Matched by a Service's address alone it may be of any of them: as many bytes as anybody's, or a filter would judge it by fewer. */
	if (kinds & KTRACE_ADDRESS_SNAP || !(kinds & KTRACE_ADDRESS_FOLLOWED))
		s->flags |= KTRACE_SNAP;
}

static __always_inline bool is_gained_address(const __u32 *words, __u32 generation)
{
	struct ktrace_target *target = target_of(words);

	return target && (__s32)(target->gained - generation) > 0;
}

__noinline int is_gained_tuple(const struct ktrace_tuple *tuple, __u32 generation)
{
	return tuple && (is_gained_address(tuple->src, generation) || is_gained_address(tuple->dst, generation));
}

/* Whether a follower was given one of the packet's ends by a target set after this one: it has not been told of the packet's flow. */
static __always_inline bool is_gained_after(const struct ktrace_sighting *s, __u32 generation)
{
	return is_gained_tuple(&s->tuple, generation) ||
	       (s->flags & KTRACE_CONNTRACK &&
		(is_gained_tuple(&s->ct_original, generation) || is_gained_tuple(&s->ct_reply, generation)));
}

static __always_inline bool leads_to_followed(const __u32 *address, __u16 port, __u8 proto)
{
	struct ktrace_service_key key = {};

	__builtin_memcpy(key.address, address, 16);
	key.port = port;
	key.proto = proto;
	return bpf_map_lookup_elem(&service_ports, &key);
}

#endif

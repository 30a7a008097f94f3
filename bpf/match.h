/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Whose packet is it: the bit set that decides "nobody's" without a helper call, and the maps that decide the rest. */
#ifndef KTRACE_MATCH_H
#define KTRACE_MATCH_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "event.h"
#include "maps.h"
#include "parse.h"

/* The same hash as in src/agent/address-bits.ts: words in network order, as loaded on this machine. */
static __always_inline bool has_bit(__u32 w0, __u32 w1, __u32 w2, __u32 w3)
{
	__u32 hash = (w0 * 0x85ebca6b + w1 * 0xc2b2ae35 + w2 * 0x27d4eb2f + w3) * 0x9e3779b1;
	__u32 bit = hash >> 16;

	return target_bits[bit >> 6] >> (bit & 63) & 1;
}

static __always_inline bool has_bit_ipv4(__be32 address)
{
	return has_bit(0, 0, bpf_htonl(0xffff), address);
}

static __always_inline bool has_bit_ipv6(const struct in6_addr *address)
{
	const __u32 *words = address->in6_u.u6_addr32;

	return has_bit(words[0], words[1], words[2], words[3]);
}

static __always_inline bool has_bit_of(const __u32 *words)
{
	return has_bit(words[0], words[1], words[2], words[3]);
}

static __always_inline bool ipv4_may_match(void *l3, void *end, const bool look_inside);

static __always_inline bool ipv6_may_match(void *l3, void *end)
{
	struct ipv6hdr *ip = l3;
	__u8 *l4 = (void *)(ip + 1);

	if ((void *)(ip + 1) > end)
		return true;
	if (has_bit_ipv6(&ip->saddr) || has_bit_ipv6(&ip->daddr))
		return true;
	if (ip->nexthdr == IPPROTO_UDP)
		return l4 + 4 > (__u8 *)end || is_vxlan_port((__u16)l4[2] << 8 | l4[3]);
	/* What an ICMPv6 error quotes, and what hides behind an extension header or in a tunnel, the body looks up. */
	return ip->nexthdr != IPPROTO_TCP;
}

static __always_inline bool inner_may_match(void *l3, void *end)
{
	__u8 *first = l3;

	if ((void *)(first + 1) > end)
		return true;
	if (*first >> 4 == 4)
		return ipv4_may_match(l3, end, false);
	if (*first >> 4 == 6)
		return ipv6_may_match(l3, end);
	return false;
}

/* Offset of the inner IP header from an outer one without options when this is a tunnel's packet of the node, else 0. */
static __always_inline __u32 inner_offset(struct iphdr *ip, void *end)
{
	__u8 *l4 = (void *)(ip + 1);

	if (ip->ihl != 5 || bpf_ntohs(ip->frag_off) & IPV4_OFFSET_MASK)
		return 0;
	if (ip->protocol == IPPROTO_IPIP || ip->protocol == IPPROTO_IPV6)
		return sizeof(*ip);
	if (ip->protocol != IPPROTO_UDP || l4 + 4 > (__u8 *)end || !is_vxlan_port((__u16)l4[2] << 8 | l4[3]))
		return 0;
	return sizeof(*ip) + 16 + ETH_HLEN;
}

static __always_inline bool ipv4_may_match(void *l3, void *end, const bool look_inside)
{
	struct iphdr *ip = l3;
	__u8 *l4 = (void *)(ip + 1);
	__u32 inner;

	if ((void *)(ip + 1) > end)
		return true;
	if (look_inside) {
		/* The tunnel's own addresses are the nodes', which tell nothing about what is inside. */
		inner = inner_offset(ip, end);
		if (inner)
			return inner_may_match(l3 + inner, end);
	}
	if (has_bit_ipv4(ip->saddr) || has_bit_ipv4(ip->daddr))
		return true;
	/* An ICMP error or a tunnel's packet that does not begin where it is expected: the body finds it. */
	if (ip->ihl != 5)
		return ip->protocol != IPPROTO_TCP;
	return ip->protocol == IPPROTO_ICMP && (l4 + 1 > (__u8 *)end || is_icmp_error(4, *l4));
}

/* False: no follower can be interested. True: look closer. */
static __always_inline bool may_match(struct __sk_buff *skb, const __u32 l3)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		return ipv4_may_match(data + l3, end, true);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return ipv6_may_match(data + l3, end);
	return false;
}

static __always_inline __u32 address_kind(const __u32 *words)
{
	struct address key;
	__u32 *kind;

	if (!has_bit_of(words))
		return 0;
	/* Before 6.2 a key may not lie in memory that came as an argument. */
	__builtin_memcpy(&key, words, sizeof(key));
	kind = bpf_map_lookup_elem(&targets, &key);
	return kind ? *kind : 0;
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

static __always_inline bool leads_to_followed(const __u32 *address, __u16 port, __u8 proto)
{
	struct ktrace_service_key key = {};

	__builtin_memcpy(key.address, address, 16);
	key.port = port;
	key.proto = proto;
	return bpf_map_lookup_elem(&service_ports, &key);
}

#endif

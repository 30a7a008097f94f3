/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Whether a packet is a follower's: first by the bit sets, without a helper call, then by the maps. */
#ifndef KTRACE_MATCH_H
#define KTRACE_MATCH_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "packet/address.h"
#include "flow/conntrack.h"
#include "flow/entered.h"
#include "base/event.h"
#include "base/maps.h"
#include "packet/parse.h"
#include "packet/ports.h"
#include "packet/tunnel.h"

static __always_inline bool ipv4_may_match(const void *l3, const void *end)
{
	const struct iphdr *ip = l3;
	const __u8 *l4 = (const void *)(ip + 1);

	if ((const void *)(ip + 1) > end)
		return true;
	if (has_bit_ipv4(ip->saddr) || has_bit_ipv4(ip->daddr))
		return true;
	/* What an ICMP error quotes the body looks up, also behind options. */
	if (ip->protocol != IPPROTO_ICMP)
		return false;
	return ip->ihl != 5 || l4 + 1 > (const __u8 *)end || is_icmp_error(4, *l4);
}

static __always_inline bool ipv6_may_match(const void *l3, const void *end)
{
	const struct ipv6hdr *ip = l3;

	if ((const void *)(ip + 1) > end)
		return true;
	if (has_bit_ipv6(&ip->saddr) || has_bit_ipv6(&ip->daddr))
		return true;
	/* The body reads what an ICMPv6 error quotes, and headers after an extension header. */
	return ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP;
}

static __always_inline bool ip_may_match(const void *l3, const void *end)
{
	const __u8 *first = l3;

	if ((const void *)(first + 1) > end)
		return true;
	/* No IP header: the body sees the outer packet. */
	if (*first >> 4 == 4)
		return (*first & 15) < 5 || ipv4_may_match(l3, end);
	return *first >> 4 != 6 || ipv6_may_match(l3, end);
}

/*
 * Offset of the inner IP header when this is a tunnel's packet, by its protocol and port alone; else 0. l4_at: offset of the L4 header. Without a
 * sign, or the 6.1 verifier loses the bound.
 */
static __always_inline __u32 inner_behind(const __u32 l4_at, __u8 proto, const __u8 *l4, void *end)
{
	const __u8 *geneve = l4 + 8;
	enum ktrace_tunnel tunnel;
	__u32 bytes;

	if (proto != IPPROTO_UDP)
		return is_ip_tunnel(proto) ? l4_at : 0;
	if ((void *)geneve > end)
		return 0;
	tunnel = tunnel_of_udp(l4);
	if (tunnel == KTRACE_TUNNEL_VXLAN)
		return l4_at + TUNNEL_HEADERS + ETH_HLEN;
	if (tunnel != KTRACE_TUNNEL_GENEVE || (void *)(geneve + 4) > end)
		return 0;
	bytes = geneve_bytes(geneve);
	return bytes ? l4_at + bytes : 0;
}

static __always_inline bool is_opened(struct __sk_buff *skb, const __u8 hook, const __u32 *src, const __u32 *dst)
{
	enum opens opens = opens_at(skb, hook);
	const __u32 *own = opens == OPENS_TO_NODE ? dst : src;

	return opens && is_of_node(own[0], own[1], own[2], own[3]);
}

/* Offset of the inner IP header from an outer one without options when this is a tunnel's packet of the node, else 0. */
static __always_inline __u32 inner_offset_ipv4(struct __sk_buff *skb, struct iphdr *ip, void *end, const __u8 hook)
{
	__u32 src[4], dst[4], inner;

	if (ip->ihl != 5 || bpf_ntohs(ip->frag_off) & IPV4_OFFSET_MASK)
		return 0;
	inner = inner_behind(sizeof(*ip), ip->protocol, (void *)(ip + 1), end);
	if (!inner)
		return 0;
	set_ipv4(src, ip->saddr);
	set_ipv4(dst, ip->daddr);
	return is_opened(skb, hook, src, dst) ? inner : 0;
}

static __always_inline __u32 inner_offset_ipv6(struct __sk_buff *skb, struct ipv6hdr *ip, void *end, const __u8 hook)
{
	__u32 inner = inner_behind(sizeof(*ip), ip->nexthdr, (void *)(ip + 1), end);

	if (!inner)
		return 0;
	return is_opened(skb, hook, ip->saddr.in6_u.u6_addr32, ip->daddr.in6_u.u6_addr32) ? inner : 0;
}

static __always_inline __u32 inner_offset(struct __sk_buff *skb, void *l3, void *end, const __u8 hook)
{
	struct iphdr *ip = l3;
	struct ipv6hdr *ip6 = l3;

	if ((void *)(ip + 1) > end)
		return 0;
	if (ip->version == 4)
		return inner_offset_ipv4(skb, ip, end, hook);
	if (ip->version != 6 || (void *)(ip6 + 1) > end)
		return 0;
	return inner_offset_ipv6(skb, ip6, end, hook);
}

/* Some drivers leave all but the outer headers in fragments of the sk_buff. */
static __always_inline bool inner_may_match(struct __sk_buff *skb, __u32 offset, void *l3, void *end)
{
	__u8 header[sizeof(struct ipv6hdr)];

	if (l3 + sizeof(header) <= end || bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
		return ip_may_match(l3, end);
	return ip_may_match(header, header + sizeof(header));
}

static __always_inline bool is_of_followed_tuple(const struct nf_conntrack_tuple *tuple)
{
	if (tuple->src.l3num == AF_INET)
		return is_set(followed_bits, bit_of_ipv4(tuple->src.u3.all[0])) ||
		       is_set(followed_bits, bit_of_ipv4(tuple->dst.u3.all[0]));
	return is_set(followed_bits, bit_of_ipv6((const void *)tuple->src.u3.all)) ||
	       is_set(followed_bits, bit_of_ipv6((const void *)tuple->dst.u3.all));
}

static __always_inline bool is_as_tracked(const struct fast_header *header, const struct nf_conntrack_tuple *tuple)
{
	const __be16 *ports = (const void *)header->l4;
	__u32 differs = (tuple->src.u.all ^ ports[0]) | (tuple->dst.u.all ^ ports[1]);
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		if (i < header->words)
			differs |= (tuple->src.u3.all[i] ^ header->src[i]) | (tuple->dst.u3.all[i] ^ header->dst[i]);
	return !differs;
}

/*
 * What goes out has passed all of NAT's hooks: where it still is what its connection's entry has for its direction, nobody is hidden behind it. Else the
 * entry says whom it was translated for, as of what pods send to the world behind the node's address.
 */
static __always_inline bool leaves_for_nobody(const struct fast_header *header, unsigned long nfct)
{
	const struct nf_conn *ct = (const struct nf_conn *)(nfct & ~NFCT_INFO_MASK);
	bool is_reply = is_of_reply(nfct);
	struct nf_conntrack_tuple tuple = {};

	if (!ct || bpf_core_read(&tuple, sizeof(tuple), is_reply ? &ct->tuplehash[1].tuple : &ct->tuplehash[0].tuple))
		return false;
	if (is_as_tracked(header, &tuple))
		return true;
	if (is_of_followed_tuple(&tuple) ||
	    bpf_core_read(&tuple, sizeof(tuple), is_reply ? &ct->tuplehash[0].tuple : &ct->tuplehash[1].tuple))
		return false;
	return !is_of_followed_tuple(&tuple);
}

/*
 * Where it comes in, conntrack has not seen it: its destination port says whether a translation may be known. A bridge may have had it tracked.
 * TCP's SYN, FIN and RST are left to the body, which remembers them for the next hooks (entered.h); a datagram is remembered here.
 */
static __always_inline bool comes_to_nobody(struct __sk_buff *skb, const __u32 l3, const struct fast_header *header)
{
	void *end = (void *)(long)skb->data_end;

	if (may_be_translated_port((__u16)header->l4[2] << 8 | header->l4[3]))
		return false;
	if (!is_uplink(skb->ifindex) && conntrack_at_tc(skb) & ~NFCT_INFO_MASK)
		return false;
	if (header->proto == IPPROTO_TCP)
		return header->l4 + 14 <= (__u8 *)end && !(header->l4[13] & TCP_SYN_FIN_RST);
	note_datagram(skb, l3);
	return true;
}

static __always_inline bool is_of_followed(const struct fast_header *header)
{
	if (header->words == 1)
		return is_set(followed_bits, bit_of_ipv4(*header->src)) ||
		       is_set(followed_bits, bit_of_ipv4(*header->dst));
	return is_set(followed_bits, bit_of_ipv6((const void *)header->src)) ||
	       is_set(followed_bits, bit_of_ipv6((const void *)header->dst));
}

/*
 * A TCP segment or datagram of which neither address is followed: a follower's only behind a translation. A tunnel's packet is not: what matters is
 * inside.
 */
static __always_inline bool is_behind_at_most(const void *l3, const void *end, struct fast_header *header)
{
	return fast_header(l3, end, header) && !is_of_followed(header) &&
	       (header->proto != IPPROTO_UDP || !tunnel_of_udp(header->l4));
}

/* For certain of no follower, as most packets of the nodes themselves: nobody is hidden behind a translation. */
static __always_inline bool is_of_nobody(struct __sk_buff *skb, const __u32 l3, const __u8 hook)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct fast_header header;

	if (!is_behind_at_most(data + l3, end, &header))
		return false;
	return hook == KTRACE_HOOK_TC_IN ? comes_to_nobody(skb, l3, &header)
					 : leaves_for_nobody(&header, conntrack_at_tc(skb));
}

/* False: no follower can be interested. True: look closer. */
static __always_inline bool may_match(struct __sk_buff *skb, const __u32 l3, const __u8 hook)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *at = data + l3;
	__u32 inner;

	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (!ipv6_may_match(at, end))
			return false;
	} else if (skb->protocol != bpf_htons(ETH_P_IP) || !ipv4_may_match(at, end)) {
		return false;
	}
	/* Only behind a bit: the outer packets of the node's tunnels have its own address, whose bit is set while anybody follows. */
	inner = inner_offset(skb, at, end, hook);
	if (inner)
		return inner_may_match(skb, l3 + inner, at + inner, end);
	return !is_of_nobody(skb, l3, hook);
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

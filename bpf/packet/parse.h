/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * A packet's headers into a sighting. Every header is fetched with a fixed length from a checked offset, into the stack: headers may lie in
 * fragments of the sk_buff, and nothing is ever read past the packet's end. What is not there leaves its fields zero.
 */
#ifndef KTRACE_PARSE_H
#define KTRACE_PARSE_H

#include <stdbool.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "base/event.h"
#include "base/maps.h"
#include "packet/tunnel.h"

#define TCP_SYN_FIN_RST 0x07
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1fff
#define MAX_IPV6_EXTENSIONS 8
#define PAYLOAD_HASH_BYTES 16

/* Where the bytes come from: an sk_buff at tc, or the linear part of one in memory. */
struct source {
	const bool tc; /* a constant: the branch not taken is not compiled in */
	void *from;
	__u32 end; /* of what may be read, from `from` */
};

static __always_inline int load(const struct source *source, __u32 offset, void *to, const __u32 bytes)
{
	if (source->tc)
		return bpf_skb_load_bytes(source->from, offset, to, bytes);
	if (offset + bytes > source->end)
		return -1;
	return bpf_probe_read_kernel(to, bytes, source->from + offset);
}

static __always_inline void set_ipv4(__u32 *to, __be32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

static __always_inline void set_ipv6(__u32 *to, const struct in6_addr *address)
{
	to[0] = address->in6_u.u6_addr32[0];
	to[1] = address->in6_u.u6_addr32[1];
	to[2] = address->in6_u.u6_addr32[2];
	to[3] = address->in6_u.u6_addr32[3];
}

static __always_inline bool is_mapped(const __u32 *words)
{
	return !(words[0] | words[1] | (words[2] ^ bpf_htonl(0xffff)));
}

/* A TCP segment or datagram as it usually is: in the packet's linear bytes, or a copy of them. */
struct fast_header {
	const __u32 *src, *dst;
	const __u8 *l4;
	__u32 len; /* from the IP header on, as that says; 0 for jumbograms */
	__u8 words; /* of an address */
	__u8 proto;
	__u16 id; /* IPv4's */
};

/* False for anything else: options, extension headers, fragments, another protocol, fewer bytes than up to the ports. */
static __always_inline bool fast_header(const void *l3, const void *end, struct fast_header *header)
{
	const struct iphdr *ip = l3;
	const struct ipv6hdr *ip6 = l3;

	if ((const void *)(ip + 1) > end)
		return false;
	if (ip->version == 4) {
		if (ip->ihl != 5 || ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))
			return false;
		*header =
			(struct fast_header){ &ip->saddr, &ip->daddr,   (const void *)(ip + 1), bpf_ntohs(ip->tot_len),
					      1,          ip->protocol, bpf_ntohs(ip->id) };
	} else {
		if ((const void *)(ip6 + 1) > end || ip->version != 6)
			return false;
		*header = (struct fast_header){ ip6->saddr.in6_u.u6_addr32,
						ip6->daddr.in6_u.u6_addr32,
						(const void *)(ip6 + 1),
						ip6->payload_len ? bpf_ntohs(ip6->payload_len) + sizeof(*ip6) : 0,
						4,
						ip6->nexthdr,
						0 };
	}
	return (const void *)(header->l4 + 4) <= end && (header->proto == IPPROTO_TCP || header->proto == IPPROTO_UDP);
}

static __always_inline void set_fast_tuple(struct ktrace_tuple *tuple, const struct fast_header *header)
{
	if (header->words == 1) {
		set_ipv4(tuple->src, *header->src);
		set_ipv4(tuple->dst, *header->dst);
	} else {
		set_ipv6(tuple->src, (const void *)header->src);
		set_ipv6(tuple->dst, (const void *)header->dst);
	}
	tuple->sport = (__u16)header->l4[0] << 8 | header->l4[1];
	tuple->dport = (__u16)header->l4[2] << 8 | header->l4[3];
}

/* Fields of the IP layer, and where the next header begins. */
struct ip_layer {
	__u32 l4;
	__u32 id;
	__u32 total_len; /* as in the header; 0 for jumbograms */
	__u16 fragment_offset; /* bytes */
	__u8 version;
	__u8 proto;
	bool is_fragment;
	bool more_fragments;
};

static __always_inline int parse_ipv4(const struct source *source, __u32 l3, struct ktrace_tuple *tuple,
				      struct ip_layer *ip)
{
	struct iphdr header;
	__u16 fragment;

	if (load(source, l3, &header, sizeof(header)) || header.version != 4 || header.ihl < 5)
		return -1;
	set_ipv4(tuple->src, header.saddr);
	set_ipv4(tuple->dst, header.daddr);
	fragment = bpf_ntohs(header.frag_off);
	ip->version = 4;
	ip->proto = header.protocol;
	ip->id = bpf_ntohs(header.id);
	ip->total_len = bpf_ntohs(header.tot_len);
	ip->fragment_offset = (fragment & IPV4_OFFSET_MASK) * 8;
	ip->more_fragments = fragment & IPV4_MORE_FRAGMENTS;
	ip->is_fragment = ip->more_fragments || ip->fragment_offset;
	ip->l4 = l3 + header.ihl * 4;
	return 0;
}

static __always_inline bool is_ipv6_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_AH || next == 135 /* mobility */;
}

static __always_inline int parse_ipv6(const struct source *source, __u32 l3, struct ktrace_tuple *tuple,
				      struct ip_layer *ip)
{
	struct ipv6hdr header;
	__u8 extension[8];
	int i;

	if (load(source, l3, &header, sizeof(header)) || header.version != 6)
		return -1;
	set_ipv6(tuple->src, &header.saddr);
	set_ipv6(tuple->dst, &header.daddr);
	ip->version = 6;
	ip->proto = header.nexthdr;
	ip->total_len = header.payload_len ? bpf_ntohs(header.payload_len) + sizeof(header) : 0;
	ip->l4 = l3 + sizeof(header);
	for (i = 0; i < MAX_IPV6_EXTENSIONS; i++) {
		if (!is_ipv6_extension(ip->proto))
			return 0;
		/* A later fragment has its next header's type in the fragment header, but not its bytes. */
		if (ip->fragment_offset)
			return 0;
		if (load(source, ip->l4, extension, sizeof(extension)))
			return 0;
		if (ip->proto == IPPROTO_FRAGMENT) {
			__u16 field = (__u16)extension[2] << 8 | extension[3];

			ip->id = (__u32)extension[4] << 24 | (__u32)extension[5] << 16 | (__u32)extension[6] << 8 |
				 extension[7];
			ip->fragment_offset = field & 0xfff8;
			ip->more_fragments = field & 1;
			ip->is_fragment = true;
			ip->l4 += 8;
		} else if (ip->proto == IPPROTO_AH) {
			ip->l4 += (extension[1] + 2) * 4;
		} else {
			ip->l4 += (extension[1] + 1) * 8;
		}
		ip->proto = extension[0];
	}
	return 0;
}

static __always_inline int parse_ip_from(const struct source *source, __u32 l3, struct ktrace_tuple *tuple,
					 struct ip_layer *ip)
{
	__u8 first;

	__builtin_memset(ip, 0, sizeof(*ip));
	if (load(source, l3, &first, 1))
		return -1;
	if (first >> 4 == 4)
		return parse_ipv4(source, l3, tuple, ip);
	if (first >> 4 == 6)
		return parse_ipv6(source, l3, tuple, ip);
	return -1;
}

/*
 * Global functions: the verifier checks each of them once, on its own. Inlined, the extension headers' loop in the outer, the inner and the
 * quoted header multiplies its states past the limit of a million instructions.
 */
__noinline int parse_ip_at_tc(struct __sk_buff *skb, __u32 l3, struct ktrace_tuple *tuple, struct ip_layer *ip)
{
	const struct source source = { .tc = true, .from = skb };

	return tuple && ip ? parse_ip_from(&source, l3, tuple, ip) : -1;
}

__noinline int parse_ip_in_memory(__u64 from, __u32 end, __u32 l3, struct ktrace_tuple *tuple, struct ip_layer *ip)
{
	const struct source source = { .tc = false, .from = (void *)(unsigned long)from, .end = end };

	return tuple && ip ? parse_ip_from(&source, l3, tuple, ip) : -1;
}

static __always_inline int parse_ip(const struct source *source, __u32 l3, struct ktrace_tuple *tuple,
				    struct ip_layer *ip)
{
	if (source->tc)
		return parse_ip_at_tc(source->from, l3, tuple, ip);
	return parse_ip_in_memory((__u64)(unsigned long)source->from, source->end, l3, tuple, ip);
}

/* ICMP of the other version is no ICMP, only bytes. */
static __always_inline bool is_icmp(const struct ip_layer *ip)
{
	return ip->version == 6 ? ip->proto == IPPROTO_ICMPV6 : ip->proto == IPPROTO_ICMP;
}

static __always_inline bool is_icmp_error(__u8 version, __u8 type)
{
	return version == 6 ? type < 128 : type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static __always_inline bool is_icmp_echo(__u8 version, __u8 type)
{
	return version == 6 ? type == 128 || type == 129 : type == 8 || type == 0;
}

/* The flow that an ICMP error quotes: its IP header and, when they are there, its ports or echo id. */
static __always_inline void parse_quoted(const struct source *source, __u32 l3, struct ktrace_sighting *s,
					 struct parsed *at)
{
	struct ip_layer ip;
	__u16 ports[2] = {};
	__u8 echo[8];

	if (parse_ip(source, l3, &s->quoted, &ip))
		return;
	s->flags |= KTRACE_QUOTED;
	s->quoted_proto = ip.proto;
	at->end = ip.l4 + 8;
	if (ip.fragment_offset)
		return;
	if (ip.proto == IPPROTO_TCP || ip.proto == IPPROTO_UDP || ip.proto == IPPROTO_SCTP) {
		if (load(source, ip.l4, ports, sizeof(ports)))
			return;
		s->quoted.sport = bpf_ntohs(ports[0]);
		s->quoted.dport = bpf_ntohs(ports[1]);
	} else if (is_icmp(&ip)) {
		if (!load(source, ip.l4, echo, sizeof(echo)) && is_icmp_echo(ip.version, echo[0])) {
			s->quoted.sport = (__u16)echo[4] << 8 | echo[5];
			s->icmp_seq = (__u16)echo[6] << 8 | echo[7];
		}
	}
	/* Errors of one kind differ by the packet that they are about. */
	s->payload_hash ^= ip.id * 0x9e3779b1;
}

static __always_inline void parse_icmp(const struct source *source, const struct ip_layer *ip,
				       struct ktrace_sighting *s, struct parsed *at)
{
	__u8 header[8];

	if (load(source, ip->l4, header, sizeof(header)))
		return;
	s->flags |= KTRACE_L4;
	at->end = ip->l4 + 8;
	s->icmp_type = header[0];
	s->icmp_code = header[1];
	if (is_icmp_echo(ip->version, header[0])) {
		s->icmp_id = (__u16)header[4] << 8 | header[5];
		s->icmp_seq = (__u16)header[6] << 8 | header[7];
		s->tuple.sport = s->icmp_id;
	} else if (is_icmp_error(ip->version, header[0])) {
		if (ip->version == 4 && header[0] == 3 && header[1] == 4)
			s->icmp_mtu = (__u16)header[6] << 8 | header[7];
		if (ip->version == 6 && header[0] == 2)
			s->icmp_mtu = (__u16)header[6] << 8 | header[7];
		parse_quoted(source, ip->l4 + 8, s, at);
	}
}

/* Tells datagrams of one flow apart where the IP id does not; only for what is emitted. */
static __always_inline void hash_payload(const struct source *source, const struct parsed *at,
					 struct ktrace_sighting *s)
{
	__u32 word, hash = 0x811c9dc5;
	int i;

#pragma unroll
	for (i = 0; i < PAYLOAD_HASH_BYTES / 4; i++) {
		if (load(source, at->end + i * 4, &word, sizeof(word)))
			break;
		hash = (hash ^ word) * 0x01000193;
	}
	s->payload_hash = hash;
}

static __always_inline void parse_l4(const struct source *source, const struct ip_layer *ip, struct ktrace_sighting *s,
				     struct parsed *at)
{
	__u8 header[20];

	if (ip->proto == IPPROTO_TCP) {
		if (load(source, ip->l4, header, 20)) {
			/* RFC 792 quotes 8 bytes, and a short segment still has its ports. */
			if (load(source, ip->l4, header, 4))
				return;
		} else {
			s->tcp_seq =
				(__u32)header[4] << 24 | (__u32)header[5] << 16 | (__u32)header[6] << 8 | header[7];
			s->tcp_ack =
				(__u32)header[8] << 24 | (__u32)header[9] << 16 | (__u32)header[10] << 8 | header[11];
			s->tcp_flags = header[13];
			at->end = ip->l4 + (header[12] >> 4) * 4;
		}
	} else if (ip->proto == IPPROTO_UDP || ip->proto == IPPROTO_SCTP) {
		if (load(source, ip->l4, header, 4))
			return;
		at->end = ip->l4 + (ip->proto == IPPROTO_UDP ? 8 : 12);
	} else if (is_icmp(ip)) {
		parse_icmp(source, ip, s, at);
		return;
	} else {
		return;
	}
	s->flags |= KTRACE_L4;
	s->tuple.sport = (__u16)header[0] << 8 | header[1];
	s->tuple.dport = (__u16)header[2] << 8 | header[3];
}

/* Fragments: the first one leaves its ports for the later ones, which have none of their own. */
static __always_inline void attribute_fragment(const struct ip_layer *ip, struct ktrace_sighting *s, __u32 place)
{
	struct fragment_key key = {};
	struct fragment_ports ports = {}, *known;

	s->flags |= KTRACE_FRAGMENT;
	if (ip->more_fragments)
		s->flags |= KTRACE_MORE_FRAGMENTS;
	s->fragment_offset = ip->fragment_offset;
	__builtin_memcpy(key.src, s->tuple.src, 16);
	__builtin_memcpy(key.dst, s->tuple.dst, 16);
	key.id = ip->id;
	key.proto = ip->proto;
	key.place = place;
	if (!ip->fragment_offset) {
		ports.sport = s->tuple.sport;
		ports.dport = s->tuple.dport;
		bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
		return;
	}
	known = bpf_map_lookup_elem(&fragments, &key);
	if (known) {
		s->tuple.sport = known->sport;
		s->tuple.dport = known->dport;
	}
}

/* Whether the packet is between the ends of the node's tunnels. */
static __always_inline bool is_of_tunnel(const struct ktrace_tuple *outer, __u32 opens)
{
	const __u32 *own = opens == OPENS_TO_NODE ? outer->dst : outer->src;

	return opens && is_of_node(own[0], own[1], own[2], own[3]);
}

/* Offset of the inner IP header when this is a tunnel's outer packet, else 0. The tunnel's fields of the sighting are set. */
static __always_inline __u32 parse_tunnel(const struct source *source, const struct ip_layer *ip,
					  struct ktrace_sighting *s, __u32 opens)
{
	__u8 header[TUNNEL_HEADERS];
	__u32 bytes = 0;

	if (ip->fragment_offset || !is_of_tunnel(&s->tuple, opens))
		return 0;
	if (is_ip_tunnel(ip->proto)) {
		s->tunnel_kind = KTRACE_TUNNEL_IPIP;
	} else if (ip->proto == IPPROTO_UDP) {
		if (load(source, ip->l4, header, sizeof(header)))
			return 0;
		s->tunnel_kind = tunnel_of_udp(header);
		bytes = s->tunnel_kind == KTRACE_TUNNEL_GENEVE ? geneve_bytes(header + 8) : TUNNEL_HEADERS + ETH_HLEN;
		if (!s->tunnel_kind || !bytes) {
			s->tunnel_kind = KTRACE_TUNNEL_NONE;
			return 0;
		}
		s->tunnel_vni = (__u32)header[12] << 16 | (__u32)header[13] << 8 | header[14];
	} else {
		return 0;
	}
	__builtin_memcpy(s->tunnel_src, s->tuple.src, 16);
	__builtin_memcpy(s->tunnel_dst, s->tuple.dst, 16);
	return ip->l4 + bytes;
}

/* It was no tunnel's packet after all. */
static __always_inline void forget_tunnel(struct ktrace_sighting *s)
{
	s->tunnel_kind = KTRACE_TUNNEL_NONE;
	s->tunnel_vni = 0;
	__builtin_memset(s->tunnel_src, 0, 16);
	__builtin_memset(s->tunnel_dst, 0, 16);
}

/*
 * Fills the packet's fields of s (which are zero) from its IP header at l3; those of the inner packet when it is a tunnel's. 0, or -1 when
 * this is no IP packet. at->opens and at->place are the caller's, the offsets in it are set.
 */
static __always_inline int parse_packet_from(const struct source *source, __u32 l3, __u32 l3_len,
					     struct ktrace_sighting *s, struct parsed *at)
{
	struct ip_layer ip, inside;
	__u32 inner;

	if (parse_ip(source, l3, &s->tuple, &ip))
		return -1;
	inner = parse_tunnel(source, &ip, s, at->opens);
	if (inner) {
		/* Not IP inside (ARP in VXLAN), or cut off: the outer packet is what it is. */
		if (parse_ip(source, inner, &s->tuple, &inside)) {
			forget_tunnel(s);
		} else {
			ip = inside;
			l3_len -= inner - l3;
			l3 = inner;
		}
	}
	at->l3 = l3;
	at->l4 = ip.l4;
	at->end = ip.l4;
	s->ip_version = ip.version;
	s->proto = ip.proto;
	s->ip_id = ip.id;
	/* Short frames are padded on the wire; jumbograms and the kernel's own very large packets say 0. */
	s->len = ip.total_len && ip.total_len < l3_len ? ip.total_len : l3_len;
	if (!ip.fragment_offset)
		parse_l4(source, &ip, s, at);
	if (ip.is_fragment)
		attribute_fragment(&ip, s, at->place);
	return 0;
}

__noinline int parse_packet_at_tc(struct __sk_buff *skb, __u32 l3, struct ktrace_sighting *s, struct parsed *at)
{
	const struct source source = { .tc = true, .from = skb };

	return s && at ? parse_packet_from(&source, l3, skb->len - l3, s, at) : -1;
}

__noinline int parse_packet_in_memory(__u64 from, __u32 end, __u32 len, struct ktrace_sighting *s, struct parsed *at)
{
	const struct source source = { .tc = false, .from = (void *)(unsigned long)from, .end = end };

	return s && at ? parse_packet_from(&source, 0, len, s, at) : -1;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * The translation of a packet, read from the conntrack entry where one is attached to it, and remembered for the hooks that packets pass before
 * conntrack runs: the pod's veth and the uplink at ingress.
 */
#ifndef KTRACE_CONNTRACK_H
#define KTRACE_CONNTRACK_H

#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "base/event.h"
#include "base/kernel.h"
#include "base/maps.h"
#include "packet/parse.h"
#include "packet/ports.h"

#define AF_INET 2

static __always_inline void read_tuple(const struct nf_conntrack_tuple *from, struct ktrace_tuple *to)
{
	__u16 family = BPF_CORE_READ(from, src.l3num);
	__u8 proto = BPF_CORE_READ(from, dst.protonum);
	__u32 address[4];

	bpf_core_read(address, sizeof(address), &from->src.u3.all);
	if (family == AF_INET)
		set_ipv4(to->src, address[0]);
	else
		__builtin_memcpy(to->src, address, 16);
	bpf_core_read(address, sizeof(address), &from->dst.u3.all);
	if (family == AF_INET)
		set_ipv4(to->dst, address[0]);
	else
		__builtin_memcpy(to->dst, address, 16);
	to->sport = bpf_ntohs(BPF_CORE_READ(from, src.u.all));
	/* ICMP: src.u is the echo id, dst.u type and code. */
	to->dport = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6 ? 0 : bpf_ntohs(BPF_CORE_READ(from, dst.u.all));
}

#ifdef KTRACE_KERN_CTX
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;
#endif

/* The entry attached to the packet, or 0. The two lowest bits and the third are the packet's state, see read_conntrack. */
static __always_inline unsigned long conntrack_of(const struct sk_buff *skb)
{
	return cfg_conntrack ? BPF_CORE_READ(skb, _nfct) : 0;
}

/* The same for a packet at tc, by a load instead of a helper in the object for kernels that allow it (6.2 and later). */
static __always_inline unsigned long conntrack_at_tc(struct __sk_buff *skb)
{
#ifdef KTRACE_KERN_CTX
	return cfg_conntrack ? ((const struct sk_buff *)bpf_cast_to_kern_ctx(skb))->_nfct : 0;
#else
	return conntrack_of((const struct sk_buff *)skb);
#endif
}

/*
 * A hash, never 0, of the source address and port that the entry's answers have: a freed entry's memory is another's at once (SLAB_TYPESAFE_BY_RCU),
 * and by its address alone a client's next datagram, to another endpoint, would be of the old translation.
 */
static __always_inline __u32 answers_from_of(unsigned long nfct)
{
	const struct nf_conn *ct = (const struct nf_conn *)(nfct & ~NFCT_INFO_MASK);
	struct nf_conntrack_man from = {};
	const __u32 *words = from.u3.all;

	if (!ct || bpf_core_read(&from, sizeof(from), &ct->tuplehash[1].tuple.src))
		return 1;
	return (words[0] * 0x85ebca6b + words[1] * 0xc2b2ae35 + words[2] * 0x27d4eb2f + words[3] + from.u.all) *
		       0x9e3779b1 |
	       1;
}

static __always_inline bool is_of_reply(unsigned long nfct)
{
	__u32 info = nfct & NFCT_INFO_MASK;

	return info == IP_CT_IS_REPLY || info == IP_CT_IS_REPLY + 1;
}

static __always_inline void read_conntrack(unsigned long nfct, struct ktrace_sighting *s)
{
	const struct nf_conn *ct = (const struct nf_conn *)(nfct & ~NFCT_INFO_MASK);

	if (!ct)
		return;
	read_tuple(&ct->tuplehash[0].tuple, &s->ct_original);
	read_tuple(&ct->tuplehash[1].tuple, &s->ct_reply);
	s->ct_status = BPF_CORE_READ(ct, status);
	s->flags |= KTRACE_CONNTRACK;
	if (is_of_reply(nfct))
		s->flags |= KTRACE_CT_REPLY;
}

static __always_inline __u32 tuple_differs(const struct ktrace_tuple *a, const struct ktrace_tuple *b)
{
	__u32 differs = (a->sport ^ b->sport) | (a->dport ^ b->dport);
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		differs |= (a->src[i] ^ b->src[i]) | (a->dst[i] ^ b->dst[i]);
	return differs;
}

static __always_inline bool is_same_tuple(const struct ktrace_tuple *a, const struct ktrace_tuple *b)
{
	return !tuple_differs(a, b);
}

/* Masquerade decides last: the reply tuple is final once it has, or once the entry is confirmed. */
static __always_inline bool is_final(__u32 status)
{
	return status & (IPS_CONFIRMED | IPS_SRC_NAT_DONE);
}

static __always_inline void remember_under(const struct ktrace_tuple *tuple, __u32 is_reply, struct scratch *scratch)
{
	struct ktrace_remembered *known;

	note_port(tuple->dport, scratch->remembered.seen_ns);
	scratch->remembered_key.tuple = *tuple;
	scratch->remembered.is_reply = is_reply;
	known = bpf_map_lookup_elem(&remembered, &scratch->remembered_key);
	/* An update costs several look-ups, and most packets have nothing new to say. */
	if (known && known->status == scratch->remembered.status && known->is_reply == is_reply &&
	    is_same_tuple(&known->original, &scratch->remembered.original) &&
	    is_same_tuple(&known->reply, &scratch->remembered.reply)) {
		known->seen_ns = scratch->remembered.seen_ns;
		return;
	}
	bpf_map_update_elem(&remembered, &scratch->remembered_key, &scratch->remembered, BPF_ANY);
}

/* Whether the entry has another tuple for the answers than what was asked turned. IPVS leaves no mark in its status; an echo's id is in no place of a port. */
static __always_inline bool has_translation(const struct ktrace_sighting *s, __u8 proto)
{
	const struct ktrace_tuple *asked = &s->ct_original, *answer = &s->ct_reply;
	__u32 differs = (asked->sport ^ answer->dport) | (asked->dport ^ answer->sport);
	int i;

	if (s->ct_status & (IPS_SRC_NAT | IPS_DST_NAT))
		return true;
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP && proto != IPPROTO_SCTP)
		return false;
#pragma unroll
	for (i = 0; i < 4; i++)
		differs |= (asked->src[i] ^ answer->dst[i]) | (asked->dst[i] ^ answer->src[i]);
	return differs;
}

/* Learns a final translation under both tuples that an untracked packet of it can have. */
static __always_inline void remember(const struct ktrace_sighting *s, struct scratch *scratch)
{
	/* An error carries the entry of the flow it is about. */
	__u8 proto = s->flags & KTRACE_QUOTED ? s->quoted_proto : s->proto;

	if (!is_final(s->ct_status) || !has_translation(s, proto))
		return;
	scratch->remembered.original = s->ct_original;
	scratch->remembered.reply = s->ct_reply;
	scratch->remembered.status = s->ct_status;
	scratch->remembered.seen_ns = s->time_ns;
	scratch->remembered_key.proto = proto;

	remember_under(&s->ct_original, 0, scratch);
	remember_under(&s->ct_reply, 1, scratch);
}

static __always_inline bool use_remembered(struct ktrace_sighting *s, struct scratch *scratch, bool is_known)
{
	struct ktrace_remembered *known = bpf_map_lookup_elem(&remembered, &scratch->remembered_key);

	if (!known || (!is_known && s->time_ns - known->seen_ns > cfg_remember_ns))
		return false;
	s->ct_original = known->original;
	s->ct_reply = known->reply;
	s->ct_status = known->status;
	s->flags |= KTRACE_CONNTRACK | KTRACE_CT_REMEMBERED;
	if (known->is_reply)
		s->flags |= KTRACE_CT_REPLY;
	return true;
}

/*
 * Recalls the translation of a packet that conntrack has not seen yet. A SYN may begin a new one under old ports, and is not trusted. is_known: its flow
 * is in the table at this hook, and is not idle: what is only counted does not make its translation remembered anew.
 */
static __always_inline void recall(struct ktrace_sighting *s, struct scratch *scratch, bool is_known)
{
	if (s->proto == IPPROTO_TCP && (s->tcp_flags & 0x12) == 0x02)
		return;
	scratch->remembered_key.tuple = s->tuple;
	scratch->remembered_key.proto = s->proto;
	use_remembered(s, scratch, is_known);
}

/*
 * The flow that an ICMP error quotes, as it came to whom refused it: what the error goes against is the tuple of an answer, and the error goes
 * the answer's way. An echo's id is the same in both directions.
 */
static __always_inline void recall_quoted(struct ktrace_sighting *s, struct scratch *scratch)
{
	bool has_ports = s->quoted_proto != IPPROTO_ICMP && s->quoted_proto != IPPROTO_ICMPV6;

	__builtin_memcpy(scratch->remembered_key.tuple.src, s->quoted.dst, 16);
	__builtin_memcpy(scratch->remembered_key.tuple.dst, s->quoted.src, 16);
	scratch->remembered_key.tuple.sport = has_ports ? s->quoted.dport : s->quoted.sport;
	scratch->remembered_key.tuple.dport = has_ports ? s->quoted.sport : 0;
	scratch->remembered_key.proto = s->quoted_proto;
	use_remembered(s, scratch, false);
}

#endif

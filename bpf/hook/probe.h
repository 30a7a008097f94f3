/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * What the stack does with a packet between its interfaces: NAT rewrites it, its connection is entered into conntrack's table, an ICMP error is made about it, an echo is answered. Each program
 * exists twice, for fentry and for kprobe, and is loaded and attached by itself: user space resolves the function and where its arguments are
 * (cfg_at_*) for the kernel that runs, and what cannot be had costs its own facts alone.
 */
#ifndef KTRACE_PROBE_H
#define KTRACE_PROBE_H

#include <linux/ptrace.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "flow/conntrack.h"
#include "hook/drop.h"
#include "base/event.h"
#include "base/kernel.h"
#include "base/maps.h"
#include "hook/match.h"
#include "packet/parse.h"
#include "hook/sight.h"

/* Positions of arguments, from the BTF of the function. */
const volatile __u8 cfg_at_nat[4] = { 0, 1, 2, 3 }; /* nf_nat_manip_pkt: skb, ct, mtype, dir */
const volatile __u8 cfg_at_nat_icmp[3] = { 0, 1, 2 }; /* nf_nat_icmp_reply_translation: skb, ct, ctinfo */
const volatile __u8 cfg_at_nat_icmp6[3] = { 0, 1, 2 };
const volatile __u8 cfg_at_nat_confirm[1] = { 0 }; /* __nf_conntrack_confirm: skb */
const volatile __u8 cfg_at_icmp_send[4] = { 0, 1, 2, 3 }; /* __icmp_send: skb_in, type, code, info */
const volatile __u8 cfg_at_icmp6_send[4] = { 0, 1, 2, 3 };
const volatile __u8 cfg_at_icmp_receive[1] = { 0 };
const volatile __u8 cfg_at_icmp6_receive[1] = { 0 };
const volatile __u8 cfg_at_icmp_echo[1] = { 0 };
const volatile __u8 cfg_at_icmp6_echo[1] = { 0 };

/* Each has its own memory: one may interrupt another. 0 and 1 are tc's and the drops'. */
enum probe_scratch {
	SCRATCH_NAT = 2,
	SCRATCH_NAT_ICMP,
	SCRATCH_NAT_ICMP6,
	SCRATCH_NAT_CONFIRM,
	SCRATCH_ICMP_SEND,
	SCRATCH_ICMP6_SEND,
	SCRATCH_ICMP_RECEIVE,
	SCRATCH_ICMP6_RECEIVE,
	SCRATCH_ICMP_ECHO,
	SCRATCH_ICMP6_ECHO,
};

#define NF_NAT_MANIP_SRC 0

/* A rewrite that was told, as long as the flow's conntrack entry and what it says stay what they are and no follower comes to its ends. */
struct rewrite_key {
	struct ktrace_tuple tuple;
	__u16 proto;
	__u16 way;
};
struct rewrite {
	struct ktrace_tuple reply;
	__u64 ct;
	__u64 generation;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct rewrite_key);
	__type(value, struct rewrite);
} rewrites SEC(".maps");

/*
 * The argument at a position that is fixed at load. One load with a fixed offset for each, kept apart by the barriers: folded into one with an offset
 * in a register, the verifier refuses it as an access by a modified context.
 */
static __always_inline __u64 fentry_argument(unsigned long long *ctx, __u8 at)
{
	__u64 value = 0;

	if (at == 0) {
		value = ctx[0];
		asm volatile("" : "+r"(value));
	} else if (at == 1) {
		value = ctx[1];
		asm volatile("" : "+r"(value));
	} else if (at == 2) {
		value = ctx[2];
		asm volatile("" : "+r"(value));
	} else if (at == 3) {
		value = ctx[3];
		asm volatile("" : "+r"(value));
	} else if (at == 4) {
		value = ctx[4];
		asm volatile("" : "+r"(value));
	}
	return value;
}

static __always_inline __u64 kprobe_argument(struct pt_regs *ctx, __u8 at)
{
	__u64 value = 0;

	if (at == 0) {
		value = PT_REGS_PARM1(ctx);
		asm volatile("" : "+r"(value));
	} else if (at == 1) {
		value = PT_REGS_PARM2(ctx);
		asm volatile("" : "+r"(value));
	} else if (at == 2) {
		value = PT_REGS_PARM3(ctx);
		asm volatile("" : "+r"(value));
	} else if (at == 3) {
		value = PT_REGS_PARM4(ctx);
		asm volatile("" : "+r"(value));
	} else if (at == 4) {
		value = PT_REGS_PARM5(ctx);
		asm volatile("" : "+r"(value));
	}
	return value;
}

/* With fentry the verifier knows what an argument points to, and lets nothing be computed with it: read as memory it is a number. */
static __always_inline unsigned long number_of(const struct nf_conn *ct)
{
	unsigned long number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &ct);
	return number;
}

/* Where the translation is known, a Service's address alone does not match. */
static __always_inline bool is_followed(const struct ktrace_sighting *s)
{
	return is_followed_tuple(&s->tuple) || is_followed_tuple(&s->ct_original) || is_followed_tuple(&s->ct_reply) ||
	       (s->flags & KTRACE_QUOTED && is_followed_tuple(&s->quoted));
}

/*
 * A packet in the stack's hands as a sighting, when a follower wants it and it is in a namespace of this node; else 0, and counted as what it was.
 * ct, info: the packet's conntrack entry and its place in it; 0: those that are attached to it.
 */
static __always_inline struct ktrace_sighting *see_in_stack(const struct sk_buff *skb, const struct nf_conn *ct,
							    __u32 info, const __u8 hook, const __u32 index)
{
	struct source source = { .tc = false };
	__u32 at_index = index, netns;
	struct scratch *scratch;
	struct ktrace_sighting *s;
	struct parsed at = {};
	struct fast_header header;
	union first_bytes first;
	unsigned long nfct;
	enum look look;

	if (!locate(skb, false, &source))
		return 0;
	look = look_at(&source, &first, &header);
	if (look == LOOK_NOBODYS)
		return 0;
	nfct = ct ? number_of(ct) | info : conntrack_of(skb);
	/* Most packets that NAT rewrites are strangers', behind this node's address. Where there is an entry, it decides: a Service's address alone is not enough then. */
	if (look == LOOK_BEHIND &&
	    !(nfct & ~NFCT_INFO_MASK ? is_of_followed_entry(nfct) : may_be_translated(&header, 0)))
		return 0;
	/* Before it is parsed, as in see_drop. */
	netns = netns_of(skb, 0);
	if (netns && !is_ours(netns)) {
		COUNT(drop_foreign);
		return 0;
	}
	scratch = bpf_map_lookup_elem(&scratches, &at_index);
	if (!scratch) {
		COUNT(matched);
		COUNT(lost_scratch);
		return 0;
	}
	s = &scratch->filtered.sighting;
	__builtin_memset(s, 0, __builtin_offsetof(struct ktrace_sighting, data));
	/* Before the packet is matched, as at tc. */
	scratch->filtered.generation = target_generation;
	s->time_ns = bpf_ktime_get_ns();
	prepare(skb, netns, &at);
	if (parse_packet_in_memory((__u64)(unsigned long)source.from, source.end,
				   source.end + BPF_CORE_READ(skb, data_len), s, &at)) {
		COUNT(unparsed);
		return 0;
	}
	if (!drop_is_matched(s, scratch, nfct) || (s->flags & KTRACE_CONNTRACK && !is_followed(s))) {
		COUNT(unmatched);
		return 0;
	}
	if (!netns) {
		COUNT(drop_undecided);
		return 0;
	}
	COUNT(matched);
	note_wishes(s);
	s->hook = hook;
	s->netns = netns;
	s->ifindex = ifindex_of(skb);
	s->gso_segs = segments_of(skb);
	s->skb = (__u64)(unsigned long)skb;
	if (!BPF_CORE_READ(skb, skb_iif))
		forget_cut(s->skb);
	if (cfg_told_interval_ns && was_cut(s, scratch, s->skb)) {
		COUNT(cut);
		return 0;
	}
	if (s->proto == IPPROTO_UDP || s->proto == IPPROTO_SCTP)
		hash_payload(&source, &at, s);
	capture(&source, &at, s);
	return s;
}

/*
 * Emits what see_in_stack gave, when there is room: a packet of the node's own came in nowhere, and was held to no rate yet. False: it was cut.
 */
static __always_inline bool emit_in_stack(struct ktrace_sighting *s)
{
	/* The sighting is what its scratch memory begins with. */
	if (!is_within_rate(s, (struct scratch *)s, 0, 0, s->skb)) {
		COUNT(cut);
		return false;
	}
	/* Where its packet came in is emitted with its next hop: that a rewrite is new makes no packet worth telling. */
	emit(s);
	return true;
}

/* As at tc, a rewrite is emitted where it is new: of the first packet of a flow, of ICMP, SYN, FIN, RST. */
static __always_inline void emit_rewrite(struct ktrace_sighting *s, unsigned long ct, __u16 way)
{
	struct rewrite_key key = { .tuple = s->tuple, .proto = s->proto, .way = way };
	struct rewrite told = { .reply = s->ct_reply,
				.ct = ct,
				.generation = ((struct scratch *)s)->filtered.generation };
	struct rewrite *known = bpf_map_lookup_elem(&rewrites, &key);
	bool is_known = known && known->ct == told.ct && is_same_tuple(&known->reply, &told.reply) &&
			(known->generation == told.generation || !is_gained_after(s, known->generation));

	if (is_known) {
		known->generation = told.generation;
		if (!is_always_told(s) && !(s->flags & KTRACE_EVERY)) {
			COUNT(counted);
			return;
		}
	}
	/* It stays new until there is room to emit it. */
	if (emit_in_stack(s) && !is_known)
		bpf_map_update_elem(&rewrites, &key, &told, BPF_ANY);
}

/*
 * At which of netfilter's hooks: PREROUTING or POSTROUTING, or LOCAL_OUT or LOCAL_IN (KTRACE_NAT_LOCAL). skb_iif is where a packet came in, and 0 of what the
 * node itself sends. openvswitch and act_ct rewrite packets outside of the hooks; only a source shows that, by a packet that has no route yet.
 */
static __always_inline __u32 nat_hook_of(const struct sk_buff *skb, __u32 kind, __u8 ip_version)
{
	bool came_in = BPF_CORE_READ(skb, skb_iif);
	const struct dst_entry *dst;
	__u32 flags;

	if (kind != NF_NAT_MANIP_SRC)
		return came_in ? 0 : KTRACE_NAT_LOCAL;
	dst = (const struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_NOREF);
	if (!dst || BPF_CORE_READ(dst, flags) & DST_METADATA)
		return KTRACE_NAT_SOURCE | KTRACE_NAT_UNHOOKED;
	flags = ip_version == 6 ? BPF_CORE_READ((const struct rt6_info *)dst, rt6i_flags)
				: BPF_CORE_READ((const struct rtable *)dst, rt_flags);
	return KTRACE_NAT_SOURCE | (came_in && flags & ROUTE_LOCAL ? KTRACE_NAT_LOCAL : 0);
}

/* This runs before the header is changed. User space gets the result from the entry, by the direction and kind of the rewrite. */
static __always_inline int see_nat(const struct sk_buff *skb, const struct nf_conn *ct, __u32 kind, __u32 dir)
{
	struct ktrace_sighting *s;

	/* Without a branch, or the verifier goes through all that follows once for each direction. */
	s = see_in_stack(skb, ct, (dir & 1) * IP_CT_IS_REPLY, KTRACE_HOOK_NAT, SCRATCH_NAT);
	if (!s)
		return 0;
	s->flags |= nat_hook_of(skb, kind, s->ip_version);
	emit_rewrite(s, number_of(ct), kind | dir << 1);
	return 0;
}

/* An ICMP error passes NAT at every hook, also where its flow is not translated. */
static __always_inline int see_nat_icmp(const struct sk_buff *skb, const struct nf_conn *ct, __u32 info,
					const __u32 index)
{
	struct ktrace_sighting *s;

	if (!(BPF_CORE_READ(ct, status) & (IPS_SRC_NAT | IPS_DST_NAT)))
		return 0;
	s = see_in_stack(skb, ct, info & NFCT_INFO_MASK, KTRACE_HOOK_NAT, index);
	if (s)
		emit_in_stack(s);
	return 0;
}

/* On the way to the table: the packet has been rewritten already, and the entry is final. Most connections are not translated. */
static __always_inline int see_confirmed(const struct sk_buff *skb)
{
	const struct nf_conn *ct = (const struct nf_conn *)(conntrack_of(skb) & ~NFCT_INFO_MASK);
	struct ktrace_sighting *s;

	if (!ct || !(BPF_CORE_READ(ct, status) & (IPS_SRC_NAT | IPS_DST_NAT)))
		return 0;
	s = see_in_stack(skb, 0, 0, KTRACE_HOOK_CONFIRMED, SCRATCH_NAT_CONFIRM);
	if (s)
		emit_in_stack(s);
	return 0;
}

/*
 * The interface is the one whose packet is refused; for a packet that is too big, the one it does not fit through.
 */
static __always_inline int see_icmp_sent(const struct sk_buff *skb, __u8 type, __u8 code, __u32 info, const __u32 index)
{
	struct ktrace_sighting *s = see_in_stack(skb, 0, 0, KTRACE_HOOK_ICMP_SENT, index);
	const struct dst_entry *dst;
	const struct net_device *dev;
	bool is_too_big;

	if (!s)
		return 0;
	/* Asked here, not by the caller: the verifier would go through all that is above once for each answer. */
	is_too_big = index == SCRATCH_ICMP_SEND ? type == ICMP_DEST_UNREACH && code == ICMP_FRAG_NEEDED
						: type == ICMPV6_PKT_TOOBIG;
	s->icmp_type = type;
	s->icmp_code = code;
	s->icmp_mtu = is_too_big ? info : 0;
	dst = (const struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_NOREF);
	if (is_too_big && dst && !(BPF_CORE_READ(dst, flags) & DST_METADATA)) {
		dev = BPF_CORE_READ(dst, dev);
		if (is_kernel_address(dev))
			s->ifindex = BPF_CORE_READ(dev, ifindex);
	}
	emit_in_stack(s);
	return 0;
}

static __always_inline int see_icmp(const struct sk_buff *skb, const __u8 hook, const __u32 index)
{
	struct ktrace_sighting *s = see_in_stack(skb, 0, 0, hook, index);

	if (s)
		emit_in_stack(s);
	return 0;
}

/*
 * icmp_echo is entered also where net.ipv4.icmp_echo_ignore_all lets it answer nothing, and for ICMP_EXT_ECHO, which is answered where it is enabled. Over
 * IPv6 it is icmpv6_rcv that asks its setting; icmpv6_echo_reply itself leaves out what goes to multicast or anycast where that is set.
 */
static __always_inline int see_echo(const struct sk_buff *skb, const __u32 index)
{
	const struct dst_entry *dst = (const struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_NOREF);
	const struct net *net = BPF_CORE_READ(dst, dev, nd_net.net);
	struct ktrace_sighting *s;

	/* An int before it was a byte: the first one is read. */
	if (bpf_core_field_exists(net->ipv4.sysctl_icmp_echo_ignore_all) &&
	    BPF_CORE_READ(net, ipv4.sysctl_icmp_echo_ignore_all))
		return 0;
	s = see_in_stack(skb, 0, 0, KTRACE_HOOK_ECHO_ANSWERED, index);
	if (!s)
		return 0;
	if (s->icmp_type == ICMP_ECHO)
		emit_in_stack(s);
	else
		COUNT(counted);
	return 0;
}

#define CT(argument) ((const struct nf_conn *)(unsigned long)(argument))
#define SKB(argument) ((const struct sk_buff *)(unsigned long)(argument))

/* A program for fentry and one for kprobe, of which user space loads one (the question mark: none by itself): `arg(n)` is the argument that cfg_at_NAME[n] says. */
#define PROBE(name, body)                                    \
	SEC("?fentry")                                       \
	int fentry_##name(unsigned long long *ctx)           \
	{                                                    \
		return body(fentry_argument, cfg_at_##name); \
	}                                                    \
	SEC("?kprobe")                                       \
	int kprobe_##name(struct pt_regs *ctx)               \
	{                                                    \
		return body(kprobe_argument, cfg_at_##name); \
	}

#define BODY_NAT(arg, at) see_nat(SKB(arg(ctx, at[0])), CT(arg(ctx, at[1])), arg(ctx, at[2]), arg(ctx, at[3]))
#define BODY_NAT_ICMP(arg, at) \
	see_nat_icmp(SKB(arg(ctx, at[0])), CT(arg(ctx, at[1])), arg(ctx, at[2]), SCRATCH_NAT_ICMP)
#define BODY_NAT_ICMP6(arg, at) \
	see_nat_icmp(SKB(arg(ctx, at[0])), CT(arg(ctx, at[1])), arg(ctx, at[2]), SCRATCH_NAT_ICMP6)
#define BODY_NAT_CONFIRM(arg, at) see_confirmed(SKB(arg(ctx, at[0])))
#define BODY_ICMP_SEND(arg, at)                                                                                  \
	see_icmp_sent(SKB(arg(ctx, at[0])), arg(ctx, at[1]), arg(ctx, at[2]), bpf_ntohl((__u32)arg(ctx, at[3])), \
		      SCRATCH_ICMP_SEND)
#define BODY_ICMP6_SEND(arg, at) \
	see_icmp_sent(SKB(arg(ctx, at[0])), arg(ctx, at[1]), arg(ctx, at[2]), arg(ctx, at[3]), SCRATCH_ICMP6_SEND)
#define BODY_ICMP_RECEIVE(arg, at) see_icmp(SKB(arg(ctx, at[0])), KTRACE_HOOK_ICMP_RECEIVED, SCRATCH_ICMP_RECEIVE)
#define BODY_ICMP6_RECEIVE(arg, at) see_icmp(SKB(arg(ctx, at[0])), KTRACE_HOOK_ICMP_RECEIVED, SCRATCH_ICMP6_RECEIVE)
#define BODY_ICMP_ECHO(arg, at) see_echo(SKB(arg(ctx, at[0])), SCRATCH_ICMP_ECHO)
#define BODY_ICMP6_ECHO(arg, at) see_icmp(SKB(arg(ctx, at[0])), KTRACE_HOOK_ECHO_ANSWERED, SCRATCH_ICMP6_ECHO)

#endif

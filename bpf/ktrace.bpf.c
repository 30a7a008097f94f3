// SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause)
/*
 * The programs, thin and last. The attached ones are dispatchers: they let packets pass that no follower can want, by a bit set, and tail-call
 * the body for the rest. All return "next program" (TCX_NEXT is TC_ACT_UNSPEC): nothing is changed, nothing is ended, nothing is hidden from others.
 * An attached one is named ktrace_HOOK: whoever lists a node's programs sees whose they are, and the next agent finds by this beginning the filters that a
 * killed one has left on clsact.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "hook/drop.h"
#include "base/event.h"
#include "flow/flow.h"
#include "base/kernel.h"
#include "base/maps.h"
#include "hook/match.h"
#include "hook/probe.h"
#include "hook/sight.h"
#include "hook/vlan.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Never emitted by themselves, but part of the layout: keeps their types in the object's BTF. */
struct ktrace_sighting layout_sighting;
struct ktrace_filtered layout_filtered;
struct ktrace_flow_key layout_flow_key;
struct ktrace_flow layout_flow;
struct ktrace_service_key layout_service_key;
struct ktrace_interface layout_interface;
struct ktrace_rate_key layout_rate_key;
struct ktrace_rate layout_rate;
struct ktrace_pod_cut layout_pod_cut;
struct ktrace_stats layout_stats;

#define ETHERNET 14
#define NO_LINK_LAYER 0

static __always_inline int dispatch(struct __sk_buff *skb, const __u32 l3, const __u8 hook, const enum ktrace_body body)
{
	if (may_match(skb, l3, hook)) {
		bpf_tail_call(skb, &bodies, body);
		COUNT(no_body);
	} else if (l3 && is_vlan(skb->protocol)) {
		bpf_tail_call(skb, &bodies, hook == KTRACE_HOOK_TC_IN ? KTRACE_BODY_TAGGED_IN : KTRACE_BODY_TAGGED_OUT);
		COUNT(no_body);
	}
	return TC_ACT_UNSPEC;
}

SEC("tc")
int ktrace_in(struct __sk_buff *skb)
{
	return dispatch(skb, ETHERNET, KTRACE_HOOK_TC_IN, KTRACE_BODY_IN);
}

SEC("tc")
int ktrace_out(struct __sk_buff *skb)
{
	return dispatch(skb, ETHERNET, KTRACE_HOOK_TC_OUT, KTRACE_BODY_OUT);
}

/* For devices without a link layer: tun, IPIP. */
SEC("tc")
int ktrace_l3_in(struct __sk_buff *skb)
{
	return dispatch(skb, NO_LINK_LAYER, KTRACE_HOOK_TC_IN, KTRACE_BODY_L3_IN);
}

SEC("tc")
int ktrace_l3_out(struct __sk_buff *skb)
{
	return dispatch(skb, NO_LINK_LAYER, KTRACE_HOOK_TC_OUT, KTRACE_BODY_L3_OUT);
}

SEC("tc")
int body_in(struct __sk_buff *skb)
{
	see(skb, ETHERNET, KTRACE_HOOK_TC_IN);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_out(struct __sk_buff *skb)
{
	see(skb, ETHERNET, KTRACE_HOOK_TC_OUT);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_l3_in(struct __sk_buff *skb)
{
	see(skb, NO_LINK_LAYER, KTRACE_HOOK_TC_IN);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_l3_out(struct __sk_buff *skb)
{
	see(skb, NO_LINK_LAYER, KTRACE_HOOK_TC_OUT);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_tagged_in(struct __sk_buff *skb)
{
	see_tagged(skb, KTRACE_HOOK_TC_IN);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_tagged_out(struct __sk_buff *skb)
{
	see_tagged(skb, KTRACE_HOOK_TC_OUT);
	return TC_ACT_UNSPEC;
}

/* For what is not counted and done with, whatever it is in. */
SEC("tc")
int body_close_in(struct __sk_buff *skb)
{
	see_closely(skb, KTRACE_HOOK_TC_IN);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_close_out(struct __sk_buff *skb)
{
	see_closely(skb, KTRACE_HOOK_TC_OUT);
	return TC_ACT_UNSPEC;
}

/* Where the filter's program goes on: with what a follower may want to see, and with what none does. */
SEC("tc")
int body_told(struct __sk_buff *skb)
{
	see_told(skb);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_untold(struct __sk_buff *skb)
{
	see_untold(skb, false);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int body_untold_flow(struct __sk_buff *skb)
{
	see_untold(skb, true);
	return TC_ACT_UNSPEC;
}

/* The benches' measure: what an attached program costs that does nothing. */
SEC("tc")
int ktrace_empty(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

SEC("?fentry")
int fentry_empty(void *ctx)
{
	return 0;
}

SEC("?kprobe")
int kprobe_empty(void *ctx)
{
	return 0;
}

/*
 * Run by BPF_PROG_TEST_RUN on a veth of the host, never attached: answers with the network namespace of the veth's peer. struct veth_priv
 * begins with the peer on every kernel (drivers/net/veth.c); its type may be in a module's BTF, so it is not relocated.
 */

SEC("tc")
int ktrace_peer(struct __sk_buff *skb)
{
	const struct net_device *dev = BPF_CORE_READ((const struct sk_buff *)skb, dev), *peer = 0;
	__u64 private_data = (bpf_core_type_size(struct net_device) + 31) & ~31ULL;

	peer_netns = 0;
	if (!bpf_core_read(&peer, sizeof(peer), (const void *)dev + private_data) && is_kernel_address(peer))
		peer_netns = BPF_CORE_READ(peer, nd_net.net, ns.inum);
	return TC_ACT_UNSPEC;
}

/* Likewise: answers with the kernel's count of ticks, and the time. */
SEC("tc")
int ktrace_ticks(struct __sk_buff *skb)
{
	ticks_counted = bpf_jiffies64();
	ticks_counted_ns = bpf_ktime_get_ns();
	return TC_ACT_UNSPEC;
}

/* Likewise: answers with what the kernel calls the address that the packet begins with. */
SEC("tc")
int ktrace_symbol(struct __sk_buff *skb)
{
	static const char as_symbol[] = "%ps";
	__u64 address = 0;

	symbol_text[0] = 0;
	if (!bpf_skb_load_bytes(skb, 0, &address, sizeof(address)))
		bpf_snprintf(symbol_text, sizeof(symbol_text), as_symbol, &address, sizeof(address));
	return TC_ACT_UNSPEC;
}

SEC("tp_btf/kfree_skb")
int ktrace_drop(unsigned long long *ctx)
{
	const struct sock *receiver = 0;
	__u32 reason = ctx[2];

	if (reason == cfg_reason_consumed)
		return 0;
	if (cfg_drop_has_socket) {
		receiver = (const struct sock *)ctx[3];
		if (was_taken_in(receiver, reason))
			return 0;
	}
	see_drop((const struct sk_buff *)ctx[0], (void *)ctx[1], reason, receiver);
	return 0;
}

PROBE(nat, BODY_NAT)
PROBE(nat_icmp, BODY_NAT_ICMP)
PROBE(nat_icmp6, BODY_NAT_ICMP6)
PROBE(nat_confirm, BODY_NAT_CONFIRM)
PROBE(icmp_send, BODY_ICMP_SEND)
PROBE(icmp6_send, BODY_ICMP6_SEND)
PROBE(icmp_receive, BODY_ICMP_RECEIVE)
PROBE(icmp6_receive, BODY_ICMP6_RECEIVE)
PROBE(icmp_echo, BODY_ICMP_ECHO)
PROBE(icmp6_echo, BODY_ICMP6_ECHO)

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Somebody else's program: counts, and ends the chain. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

__u64 other_seen;

SEC("tc")
int other_shot(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&other_seen, 1);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

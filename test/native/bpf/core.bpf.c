/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Asks the kernel's types, one of which no kernel has. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct net_device {
	int ifindex;
} __attribute__((preserve_access_index));

struct sk_buff {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct nowhere___to_be_found {
	int nothing;
} __attribute__((preserve_access_index));

SEC("tc")
int read_ifindex(struct __sk_buff *skb)
{
	if (bpf_core_type_exists(struct nowhere___to_be_found))
		return -2;
	return BPF_CORE_READ((struct sk_buff *)(void *)skb, dev, ifindex);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* A program that the verifier must refuse. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int read_anywhere(struct __sk_buff *skb)
{
	return *(volatile int *)(unsigned long)skb->len;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Frames whose VLAN tag (802.1Q, 802.1ad) is among their bytes. The kernel takes one out of what comes in, and keeps it beside the packet. */
#ifndef KTRACE_VLAN_H
#define KTRACE_VLAN_H

#include <stdbool.h>
#include <linux/if_ether.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "hook/match.h"

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Offset of what follows the tags, at most two, 0 when that is no IP packet. *tag is set to VLAN_PRESENT and the outer one. */
static __always_inline __u32 skip_tags(struct __sk_buff *skb, __u32 *tag)
{
	__be16 next[2]; /* the tag, and the type of what follows */
	__u32 l3 = ETH_HLEN;

	if (bpf_skb_load_bytes(skb, l3, next, sizeof(next)))
		return 0;
	*tag = VLAN_PRESENT | bpf_ntohs(next[0]);
	l3 += sizeof(next);
	if (is_vlan(next[1])) {
		if (bpf_skb_load_bytes(skb, l3, next, sizeof(next)))
			return 0;
		l3 += sizeof(next);
	}
	return next[1] == bpf_htons(ETH_P_IP) || next[1] == bpf_htons(ETH_P_IPV6) ? l3 : 0;
}

/* As may_match, for a packet behind tags. */
static __always_inline bool tagged_may_match(struct __sk_buff *skb, __u32 l3)
{
	__u8 header[sizeof(struct ipv6hdr)];

	/* One that is shorter is parsed. */
	return bpf_skb_load_bytes(skb, l3, header, sizeof(header)) || ip_may_match(header, header + sizeof(header));
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * Only the node's own tunnels are opened, at its uplinks. Anybody can send a datagram with any content to the VXLAN port; it is a tunnel's packet
 * only when the node itself sends it, or receives it from outside.
 */
#ifndef KTRACE_TUNNEL_H
#define KTRACE_TUNNEL_H

#include <stdbool.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include "packet/address.h"
#include "base/event.h"
#include "base/maps.h"

/* UDP's, and VXLAN's or Geneve's without its options. */
#define TUNNEL_HEADERS 16

enum opens {
	OPENS_NOTHING = 0,
	OPENS_TO_NODE, /* what is addressed to the node */
	OPENS_FROM_NODE, /* what the node sends under its own address */
};

static __always_inline bool is_uplink(__u32 ifindex)
{
	int i;

#pragma unroll
	for (i = 0; i < MAX_UPLINKS; i++)
		if (uplinks[i] == ifindex)
			return true;
	return false;
}

/*
 * came_in: the interface that the packet came in by (skb_iif), 0 for what the node has made. skb_scrub_packet, which every tunnel device calls,
 * sets it to 0; what a pod sends still has its own when masquerade has given it the node's address.
 */
static __always_inline enum opens opens_of(__u32 came_in)
{
	if (!came_in)
		return OPENS_FROM_NODE;
	return is_uplink(came_in) ? OPENS_TO_NODE : OPENS_NOTHING;
}

/* What goes out has been made by the node. A pod's in a tunnel has not, although no interface is known that it came in by. */
static __always_inline bool is_nodes_own(const struct __sk_buff *skb, const __u8 hook, bool is_inside)
{
	return hook == KTRACE_HOOK_TC_OUT && !is_inside && !skb->ingress_ifindex;
}

static __always_inline enum opens opens_at(const struct __sk_buff *skb, const __u8 hook)
{
	if (!is_uplink(skb->ifindex))
		return OPENS_NOTHING;
	return hook == KTRACE_HOOK_TC_IN ? OPENS_TO_NODE : opens_of(skb->ingress_ifindex);
}

static __always_inline bool is_vxlan_port(__u16 port)
{
	return port &&
	       (port == vxlan_ports[0] || port == vxlan_ports[1] || port == vxlan_ports[2] || port == vxlan_ports[3]);
}

static __always_inline bool is_geneve_port(__u16 port)
{
	return port && (port == geneve_ports[0] || port == geneve_ports[1]);
}

/* l4: a UDP header. */
static __always_inline enum ktrace_tunnel tunnel_of_udp(const __u8 *l4)
{
	__u16 port = (__u16)l4[2] << 8 | l4[3];

	if (is_vxlan_port(port))
		return KTRACE_TUNNEL_VXLAN;
	return is_geneve_port(port) ? KTRACE_TUNNEL_GENEVE : KTRACE_TUNNEL_NONE;
}

/*
 * Bytes from the UDP header to the inner IP header (RFC 8926, section 3.4): options of any length, and behind them a frame or, by some
 * senders, IP itself. geneve: the first bytes behind the UDP header. 0: a message of the tunnel's own, or something else inside.
 */
static __always_inline __u32 geneve_bytes(const __u8 *geneve)
{
	__u32 bytes = TUNNEL_HEADERS + (geneve[0] & 0x3f) * 4;
	__u16 protocol = (__u16)geneve[2] << 8 | geneve[3];

	if (geneve[0] >> 6 || geneve[1] & 0x80)
		return 0;
	if (protocol == ETH_P_TEB)
		return bytes + ETH_HLEN;
	return protocol == ETH_P_IP || protocol == ETH_P_IPV6 ? bytes : 0;
}

static __always_inline bool is_ip_tunnel(__u8 proto)
{
	return has_ip_tunnels && (proto == IPPROTO_IPIP || proto == IPPROTO_IPV6);
}

#endif

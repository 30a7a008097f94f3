/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* Only the kernel structures and fields that are read, relocated at load to where the running kernel has them. */
#ifndef KTRACE_KERNEL_H
#define KTRACE_KERNEL_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct netns_ipv4 {
	__u8 sysctl_icmp_echo_ignore_all;
};

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
	unsigned short flags;
};

struct rtable {
	unsigned int rt_flags;
};

struct rt6_info {
	__u32 rt6i_flags;
};

struct sock_common {
	unsigned char skc_state;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned long _nfct;
	unsigned int len;
	unsigned int data_len;
	int skb_iif;
	__u16 network_header;
	__be16 protocol;
	__u16 vlan_tci;
	__u32 vlan_all;
	unsigned int tail;
	unsigned int end; /* from head, on 64 bits; so is tail */
	unsigned char *head;
};

/* Behind the linear bytes' room. */
struct skb_shared_info {
	unsigned short gso_segs;
};

/* Before 6.2 a bit says whether there is a tag, and what is left of an old one says nothing (354259fa73e2, net: remove skb->vlan_present). */
struct sk_buff___vlan_bit {
	__u8 vlan_present : 1;
};

union nf_inet_addr {
	__u32 all[4];
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union {
		__be16 all;
	} u;
	__u16 l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
		__u8 protonum;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
};

#pragma clang attribute pop

#define SKB_DST_NOREF 1UL
/* RTCF_LOCAL of IPv4, RTF_LOCAL of IPv6 */
#define ROUTE_LOCAL (1U << 31)
#define ICMP_ECHO 8
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMPV6_PKT_TOOBIG 2
#define DST_METADATA 0x0080
#define NFCT_INFO_MASK 7UL
/* enum in include/net/tcp_states.h */
#define TCP_TIME_WAIT 6
#define TCP_LISTEN 10
/* ctinfo of packets in reply direction: IP_CT_ESTABLISHED_REPLY (3) and IP_CT_RELATED_REPLY (4) */
#define IP_CT_IS_REPLY 3
#define IPS_CONFIRMED (1 << 3)
#define IPS_SRC_NAT (1 << 4)
#define IPS_DST_NAT (1 << 5)
#define IPS_SRC_NAT_DONE (1 << 7)

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* The bit sets, by which an address that no follower wants is recognized without a helper call. */
#ifndef KTRACE_ADDRESS_H
#define KTRACE_ADDRESS_H

#include <stdbool.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include "base/maps.h"

/* The same hash as in src/agent/kernel/address-bits.ts: words in network order, as loaded on this machine. */
static __always_inline __u32 bit_of(__u32 w0, __u32 w1, __u32 w2, __u32 w3)
{
	return ((w0 * 0x85ebca6b + w1 * 0xc2b2ae35 + w2 * 0x27d4eb2f + w3) * 0x9e3779b1) >> 16;
}

static __always_inline bool is_set(const __u64 *bits, __u32 bit)
{
	return bits[bit >> 6] >> (bit & 63) & 1;
}

static __always_inline __u32 bit_of_ipv4(__be32 address)
{
	return bit_of(0, 0, bpf_htonl(0xffff), address);
}

static __always_inline __u32 bit_of_ipv6(const struct in6_addr *address)
{
	const __u32 *words = address->in6_u.u6_addr32;

	return bit_of(words[0], words[1], words[2], words[3]);
}

static __always_inline bool has_bit_ipv4(__be32 address)
{
	return is_set(target_bits, bit_of_ipv4(address));
}

static __always_inline bool has_bit_ipv6(const struct in6_addr *address)
{
	return is_set(target_bits, bit_of_ipv6(address));
}

static __always_inline bool has_bit_of(const __u32 *words)
{
	return is_set(target_bits, bit_of(words[0], words[1], words[2], words[3]));
}

static __always_inline bool is_of_node(__u32 w0, __u32 w1, __u32 w2, __u32 w3)
{
	return is_set(node_bits, bit_of(w0, w1, w2, w3));
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/*
 * Destination ports behind which a follower's packet may be hidden where conntrack has not seen it yet: those of followed Services (NodePorts are among
 * them), and those that a translation was remembered under. What else comes to the node's addresses is its own, and most of its traffic.
 */
#ifndef KTRACE_PORTS_H
#define KTRACE_PORTS_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include "packet/address.h"
#include "base/maps.h"
#include "base/ticks.h"

/* A span's number has seven bits, and wraps after 2 h 26 min: a port that was used so long ago may be looked at closer again for a while. */
#define SPAN_IS_SET 0x80
#define SPAN_MASK 0x7f
/* The span that goes on and three whole ones: longer than a translation is remembered, and than a flow without packets is in the table. */
#define PORT_LASTS_SPANS 4

static __always_inline __u8 port_span(__u64 now_ns)
{
	return SPAN_IS_SET | (now_ns >> cfg_port_span_shift & SPAN_MASK);
}

/* One memory for all CPUs: it is only written when it changes. */
static __always_inline void note_port(__u16 port, __u64 now_ns)
{
	__u8 span = port_span(now_ns);

	if (port_seen[port] != span)
		port_seen[port] = span;
}

static __always_inline bool may_be_translated_port(__u16 port)
{
	__u32 at = port;
	__u8 seen;

	/* Before 6.4 the verifier forgets the bound of a number put together from two bytes. */
	asm volatile("" : "+r"(at));
	at &= 0xffff;
	seen = port_seen[at];
	if (is_set(service_port_bits, at))
		return true;
	/* The coarse clock is late: a port may have been noted in the next span already. */
	return seen && ((port_span(coarse_ns()) + 1 - seen) & SPAN_MASK) <= PORT_LASTS_SPANS;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* The time of what is only counted: by the kernel's ticks, which are a load away, where asking its clock is a call. */
#ifndef KTRACE_TICKS_H
#define KTRACE_TICKS_H

#include <bpf/bpf_helpers.h>
#include "base/maps.h"

/* CLOCK_MONOTONIC, late by up to two ticks, at 100 Hz by so much. */
#define COARSE_NS 20000000ULL

static __always_inline __u64 coarse_ns(void)
{
	__u64 ns = tick_ns;

	return ns ? tick_base_ns + bpf_jiffies64() * ns : bpf_ktime_get_coarse_ns();
}

#endif

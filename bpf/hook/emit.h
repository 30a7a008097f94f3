/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* A sighting with the bytes that are asked for, into the ring. */
#ifndef KTRACE_EMIT_H
#define KTRACE_EMIT_H

#include "base/event.h"
#include "base/maps.h"
#include "flow/entered.h"
#include "packet/parse.h"

/* The headers, and as much more as a follower of it asks for. s is of a scratch memory: its data goes on behind it (struct ktrace_filtered). */
static __always_inline void capture(const struct source *source, const struct parsed *at, struct ktrace_sighting *s)
{
	__u32 headers = at->end - at->l3, len = s->flags & KTRACE_SNAP ? snap_bytes : 0;

	if (headers > s->len)
		headers = s->len;
	if (headers > KTRACE_CAPTURE_HEADERS)
		headers = KTRACE_CAPTURE_HEADERS;
	if (len > s->len)
		len = s->len;
	/* In memory no more can be read than lies there in one piece. */
	if (!source->tc && len > source->end - at->l3)
		len = source->end - at->l3;
	if (len < headers)
		len = headers;
	/*
	 * An empty barrier: the compiler must not forget the bound that it has just proven. The last byte's index bounds both ends at once:
	 * before 6.4 the verifier learns nothing from a comparison with zero.
	 */
	len -= 1;
	asm volatile("" : "+r"(len));
	if (len >= KTRACE_CAPTURE_MOST)
		return;
	len += 1;
	if (load(source, at->l3, s->data, len))
		return;
	s->data_len = len;
	s->headers_len = headers;
}

/*
 * The reader runs by a timer, until it has found nothing for a while. It is woken when it rests; and when the ring's fill passes a mark, then again only
 * when it has read all that was there when it was woken: a wake-up costs more than the rest of the program, so a reader that cannot keep up must not be
 * woken for every record. Of several CPUs one wakes it.
 */
static __always_inline bool must_wake(void)
{
	__u64 woken = woken_at;

	if (reader_rests && __sync_val_compare_and_swap(&reader_rests, 1, 0) == 1)
		return true;
	if (bpf_ringbuf_query(&sightings, BPF_RB_AVAIL_DATA) < cfg_wake_bytes)
		return false;
	if (bpf_ringbuf_query(&sightings, BPF_RB_CONS_POS) < woken)
		return false;
	return __sync_val_compare_and_swap(&woken_at, woken, bpf_ringbuf_query(&sightings, BPF_RB_PROD_POS)) == woken;
}

static __always_inline void emit(struct ktrace_sighting *s)
{
	__u64 flags = must_wake() ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	__u32 len = s->data_len;

	/* As above: what is read from memory has no bound that the verifier knows. */
	asm volatile("" : "+r"(len));
	if (len > KTRACE_CAPTURE_MOST)
		len = KTRACE_CAPTURE_MOST;
	len += __builtin_offsetof(struct ktrace_sighting, data);
	if (bpf_ringbuf_output(&sightings, s, len, flags))
		COUNT(lost_ring);
	else
		COUNT(emitted);
}

/* With what its packet was where it came in, when that was not emitted there. */
static __always_inline void emit_whole(struct ktrace_sighting *s, struct scratch *scratch)
{
	if (find_entered(scratch)) {
		if (!parse_packet_in_memory(scratch->entered_from, scratch->entered.bytes_len, scratch->entered.len, s,
					    &scratch->entered_at) &&
		    complete_entered(scratch)) {
			COUNT(matched);
			emit(s);
		}
		*s = scratch->own;
	}
	emit(s);
}

#endif

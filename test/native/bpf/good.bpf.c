/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* What the tests of the addon load: a little of everything. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct config {
	__u32 first;
	__u32 second;
};

const volatile __u32 cfg_layout_version = 7;
const volatile struct config cfg_pair = {1, 2};
__u64 seen;
__u32 rests;
__u32 last_ifindex;
__u64 switched = 5;
__u8 bits[4096];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} per_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} bodies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} records SEC(".maps");

SEC("tc")
int on_packet(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&seen, 1);
	last_ifindex = skb->ifindex;
	return -1;
}

SEC("tc")
int end_chain(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

SEC("tc")
int give_config(struct __sk_buff *skb)
{
	return cfg_pair.first * 1000 + cfg_pair.second;
}

SEC("tc")
int body(struct __sk_buff *skb)
{
	return 42;
}

SEC("tc")
int dispatch(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &bodies, 1);
	return 0;
}

/* Emits one record: its number, and as many bytes as its number says, each of that value. A quiet one wakes nobody. */
static __always_inline int emit(__u64 flags)
{
	struct {
		__u64 number;
		__u8 data[24];
	} record = {};
	__u64 number = __sync_fetch_and_add(&seen, 1);

	record.number = number;
	__builtin_memset(record.data, number & 0xff, sizeof(record.data));
	/* Two lengths, one of them no multiple of 8. */
	if (number & 1)
		return bpf_ringbuf_output(&records, &record, 13, flags) != 0;
	return bpf_ringbuf_output(&records, &record, sizeof(record), flags) != 0;
}

SEC("tc")
int emit_quietly(struct __sk_buff *skb)
{
	return emit(BPF_RB_NO_WAKEUP);
}

SEC("tc")
int emit_urgently(struct __sk_buff *skb)
{
	return emit(BPF_RB_FORCE_WAKEUP);
}

/* Wakes a reader that rests, once. */
SEC("tc")
int emit_to_resting(struct __sk_buff *skb)
{
	__u64 flags = rests ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;

	rests = 0;
	return emit(flags);
}

SEC("tp_btf/sys_enter")
int on_syscall(void *ctx)
{
	switched = 6;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

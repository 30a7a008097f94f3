#include "object/probe-support.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>

namespace ktrace
{
namespace
{

// A function that every kernel with IPv4 has, for as long as the two programs below exist.
constexpr char kFunction[] = "icmp_rcv";

// r0 = 0; exit
void ReturnZero(bpf_insn *code)
{
	code[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
	code[1].code = BPF_JMP | BPF_EXIT;
}

} // namespace

int FentrySupported(const btf *kernel)
{
	const int function = kernel == nullptr ? -ENOENT : btf__find_by_name_kind(kernel, kFunction, BTF_KIND_FUNC);
	if (function < 0)
		return function;
	bpf_insn code[2] = {};
	ReturnZero(code);
	DECLARE_LIBBPF_OPTS(bpf_prog_load_opts, options);
	options.expected_attach_type = BPF_TRACE_FENTRY;
	options.attach_btf_id = static_cast<uint32_t>(function);
	const int program = bpf_prog_load(BPF_PROG_TYPE_TRACING, "ktrace_probe", "GPL", code, 2, &options);
	if (program < 0)
		return program;
	const int link = bpf_raw_tracepoint_open(nullptr, program);
	close(program);
	if (link < 0)
		return link;
	close(link);
	return 0;
}

int KprobeSupported()
{
	bpf_insn code[2] = {};
	ReturnZero(code);
	const int program = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "ktrace_probe", "GPL", code, 2, nullptr);
	if (program < 0)
		return program;
	close(program);
	// Without CONFIG_KPROBES the program may load all the same (it is uprobes' too), and this is not there.
	FILE *file = fopen("/sys/bus/event_source/devices/kprobe/type", "re");
	if (file == nullptr)
		return errno == ENOENT ? -ENODEV : -errno;
	perf_event_attr event = {};
	const int read = fscanf(file, "%u", &event.type);
	fclose(file);
	if (read != 1)
		return -EINVAL;
	event.size = sizeof event;
	event.config1 = reinterpret_cast<uintptr_t>(kFunction);
	const long fd = syscall(SYS_perf_event_open, &event, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(static_cast<int>(fd));
	return 0;
}

} // namespace ktrace

#include "link/tcx.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <limits>

namespace ktrace
{
namespace
{

// From linux/bpf.h of 6.6; the headers at hand may be older.
constexpr uint32_t kTcxIngress = 46;
constexpr uint32_t kTcxEgress = 47;
constexpr uint32_t kBefore = 1u << 3;

struct LinkCreate {
	uint32_t program_fd;
	uint32_t target_ifindex;
	uint32_t attach_type;
	uint32_t flags;
	uint32_t relative_fd;
	uint32_t padding;
	uint64_t expected_revision;
};

int CreateLink(int program_fd, int ifindex, bool ingress)
{
	LinkCreate attributes = {};
	attributes.program_fd = static_cast<uint32_t>(program_fd);
	attributes.target_ifindex = static_cast<uint32_t>(ifindex);
	attributes.attach_type = ingress ? kTcxIngress : kTcxEgress;
	// Before, and relative to nothing: before all others.
	attributes.flags = kBefore;
	const long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attributes, sizeof attributes);
	return fd < 0 ? -errno : static_cast<int>(fd);
}

} // namespace

int AttachTcx(int program_fd, int ifindex, bool ingress)
{
	return CreateLink(program_fd, ifindex, ingress);
}

int TcxSupported()
{
	// r0 = TCX_NEXT; exit
	bpf_insn code[2] = {};
	code[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
	code[0].imm = -1;
	code[1].code = BPF_JMP | BPF_EXIT;
	const int program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "ktrace_probe", "GPL", code, 2, nullptr);
	if (program < 0)
		return program;
	// No interface has this index: a kernel with tcx says so, one without does not know the attach type.
	const int link = CreateLink(program, std::numeric_limits<int32_t>::max(), true);
	close(program);
	if (link >= 0)
		close(link);
	if (link >= 0 || link == -ENODEV)
		return 1;
	return link == -EINVAL ? 0 : link;
}

} // namespace ktrace

// Programs that come as instructions, not from the object: loaded with its maps, and put where its programs call them.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "object/bpf-object.h"
#include "util/errors.h"

namespace ktrace
{
namespace
{

constexpr char kName[] = "ktrace_filter";
constexpr char kLicense[] = "Dual BSD/GPL";
// The verifier writes all it thinks into this; with less room than it takes, loading fails for that alone.
constexpr size_t kLogBytes = 1 << 24;
constexpr size_t kToldBytes = 2048;

int Load(const std::vector<bpf_insn> &code, std::vector<char> *log)
{
	DECLARE_LIBBPF_OPTS(bpf_prog_load_opts, options);
	if (log != nullptr) {
		options.log_buf = log->data();
		options.log_size = static_cast<uint32_t>(log->size());
		options.log_level = 1;
	}
	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, kName, kLicense, code.data(), code.size(), &options);
}

// The verifier's last lines: they have the reason.
std::string Tail(const std::vector<char> &log)
{
	const size_t length = strnlen(log.data(), log.size());
	return length <= kToldBytes ? std::string(log.data(), length)
				    : std::string(log.data() + length - kToldBytes, kToldBytes);
}

} // namespace

Napi::Value BpfObject::MapSetCode(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const uint32_t index = info[1].As<Napi::Number>().Uint32Value();
	const Napi::Uint8Array bytes = info[2].As<Napi::Uint8Array>();
	const Napi::Array maps = info[3].As<Napi::Array>();
	const bpf_map *map = FindMap(name);
	if (map == nullptr)
		return {};
	std::vector<bpf_insn> code(bytes.ByteLength() / sizeof(bpf_insn));
	memcpy(code.data(), bytes.Data(), code.size() * sizeof(bpf_insn));
	for (bpf_insn &instruction : code) {
		if (instruction.code != (BPF_LD | BPF_DW | BPF_IMM) || instruction.src_reg != BPF_PSEUDO_MAP_IDX)
			continue;
		const bpf_map *used = FindMap(maps.Get(static_cast<uint32_t>(instruction.imm)).ToString());
		if (used == nullptr)
			return {};
		instruction.src_reg = BPF_PSEUDO_MAP_FD;
		instruction.imm = bpf_map__fd(used);
	}
	int program = Load(code, nullptr);
	if (program < 0) {
		std::vector<char> log(kLogBytes);
		program = Load(code, &log);
		if (program < 0) {
			ThrowErrno(Env(), program, "load program " + std::string(kName), Tail(log));
			return {};
		}
	}
	int err = -EINVAL;
	if (bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY)
		err = bpf_map_update_elem(bpf_map__fd(map), &index, &program, BPF_ANY);
	close(program);
	if (err != 0)
		ThrowErrno(Env(), err, "put a program into map " + name + " at " + std::to_string(index));
	return {};
}

} // namespace ktrace

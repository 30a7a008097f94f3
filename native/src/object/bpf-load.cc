// Opening: configuration, sizes, choice of programs, the load itself.
#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "object/bpf-object.h"
#include "util/errors.h"
#include "util/libbpf-log.h"
#include "btf/state.h"

namespace ktrace
{
namespace
{

std::string Hex(const uint8_t *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	std::string text;
	for (size_t i = 0; i < length; i++) {
		text += digits[bytes[i] >> 4];
		text += digits[bytes[i] & 15];
	}
	return text;
}

} // namespace

void BpfObject::Open(const std::string &path, const OpenOptions &options, const BpfObject *shared)
{
	LibbpfLog log;
	// Always a file of our choice, where the kernel has one: else libbpf asks for the modules' BTF by id as soon as one type is missing,
	// which needs CAP_SYS_ADMIN, and fails the whole load when refused (libbpf 1.1, bpf_core_find_cands).
	std::string btf_path = KernelBtf::Path();
	int joined = -1;
	if (!options.module_btf.empty() && !btf_path.empty()) {
		joined = JoinedBtf(btf_path, options.module_btf);
		if (joined >= 0)
			btf_path = "/proc/self/fd/" + std::to_string(joined);
	}
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, open);
	open.btf_custom_path = btf_path.empty() ? nullptr : btf_path.c_str();
	object_ = bpf_object__open_file(path.c_str(), &open);
	if (object_ == nullptr) {
		ThrowErrno(Env(), errno, "open object " + path, log.LastLines());
	} else if (bpf_object__btf(object_) == nullptr) {
		ThrowErrno(Env(), ENODATA, "find the types (BTF) of object " + path);
	} else if (Expect(options) && Configure(options) && (shared == nullptr || Share(*shared)) && Size(options) &&
		   Allocate(options) && Choose(options) && Leave(options) && Aim(options)) {
		const int err = bpf_object__load(object_);
		if (err != 0) {
			const std::string step = log.FailedStep();
			ThrowErrno(Env(), err, step.empty() ? "load object " + path : step, log.LastLines());
		}
	}
	if (joined >= 0)
		close(joined);
}

bool BpfObject::Expect(const OpenOptions &options)
{
	for (const auto &[name, value] : options.expect) {
		Variable variable;
		std::string found = "no such variable";
		if (FindVariable(name, &variable)) {
			const uint8_t *address = Address(variable);
			if (address != nullptr)
				found = Hex(address, variable.size);
		}
		const std::string wanted = Hex(value.data(), value.size());
		if (found == wanted)
			continue;
		ThrowCode(Env(), "KTRACE_E_LAYOUT", "check " + name,
			  "The BPF object is of another version: expected " + name + " = " + wanted +
				  " (bytes), found " + found);
		return false;
	}
	return true;
}

bool BpfObject::Configure(const OpenOptions &options)
{
	for (const auto &[name, value] : options.config) {
		Variable variable;
		if (!FindVariable(name, &variable)) {
			ThrowErrno(Env(), ENOENT, "find variable " + name);
			return false;
		}
		uint8_t *address = Address(variable);
		if (address == nullptr || variable.size != value.size()) {
			ThrowErrno(Env(), EINVAL,
				   "set " + name + " of " + std::to_string(variable.size) + " bytes to " +
					   std::to_string(value.size()) + " bytes");
			return false;
		}
		memcpy(address, value.data(), variable.size);
	}
	return true;
}

bool BpfObject::Size(const OpenOptions &options)
{
	for (const auto &[name, entries] : options.map_sizes) {
		bpf_map *map = FindMap(name);
		if (map == nullptr)
			return false;
		const int err = bpf_map__set_max_entries(map, entries);
		if (err != 0) {
			ThrowErrno(Env(), err, "size map " + name);
			return false;
		}
	}
	return true;
}

bool BpfObject::Allocate(const OpenOptions &options)
{
	for (const auto &[name, at_once] : options.preallocated) {
		bpf_map *map = FindMap(name);
		if (map == nullptr)
			return false;
		const uint32_t others = bpf_map__map_flags(map) & ~BPF_F_NO_PREALLOC;
		const int err = bpf_map__set_map_flags(map, others | (at_once ? 0 : BPF_F_NO_PREALLOC));
		if (err != 0) {
			ThrowErrno(Env(), err, "set how map " + name + " is allocated");
			return false;
		}
	}
	return true;
}

bool BpfObject::Leave(const OpenOptions &options)
{
	for (const std::string &name : options.without) {
		bpf_program *program = bpf_object__find_program_by_name(object_, name.c_str());
		const int err = program == nullptr ? ENOENT : bpf_program__set_autoload(program, false);
		if (err != 0) {
			ThrowErrno(Env(), err, "leave out program " + name);
			return false;
		}
	}
	return true;
}

// Variables that are fixed at load (.rodata) stay this object's own.
bool BpfObject::Share(const BpfObject &other)
{
	bpf_map *map;
	bpf_object__for_each_map(map, object_)
	{
		const std::string name = bpf_map__name(map);
		const bpf_map *theirs = bpf_object__find_map_by_name(other.object_, name.c_str());
		if (theirs == nullptr || name.find(".rodata") != std::string::npos)
			continue;
		const bool same = bpf_map__value_size(map) == bpf_map__value_size(theirs) &&
				  bpf_map__key_size(map) == bpf_map__key_size(theirs);
		const int err = same ? bpf_map__reuse_fd(map, bpf_map__fd(theirs)) : -EINVAL;
		if (err != 0) {
			ThrowErrno(Env(), err, "share map " + name);
			return false;
		}
	}
	return true;
}

bool BpfObject::Choose(const OpenOptions &options)
{
	if (options.only.empty())
		return true;
	bpf_program *program;
	bpf_object__for_each_program(program, object_)
	{
		bpf_program__set_autoload(program, false);
	}
	for (const std::string &name : options.only) {
		program = bpf_object__find_program_by_name(object_, name.c_str());
		const int err = program == nullptr ? ENOENT : bpf_program__set_autoload(program, true);
		if (err != 0) {
			ThrowErrno(Env(), err, "load program " + name);
			return false;
		}
	}
	return true;
}

bool BpfObject::Aim(const OpenOptions &options)
{
	LibbpfLog log;
	for (const auto &[name, function] : options.targets) {
		bpf_program *program = bpf_object__find_program_by_name(object_, name.c_str());
		const int err =
			program == nullptr ? ENOENT : bpf_program__set_attach_target(program, 0, function.c_str());
		if (err != 0) {
			ThrowErrno(Env(), err, "load program " + name + " for " + function, log.LastLines());
			return false;
		}
	}
	return true;
}

} // namespace ktrace

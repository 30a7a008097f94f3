// Opening: configuration, sizes, choice of programs, the load itself.
#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bpf-object.h"
#include "errors.h"
#include "libbpf-log.h"
#include "state.h"

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

void BpfObject::Open(const std::string &path, const Napi::Object &options)
{
	LibbpfLog log;
	// Always a file of our choice, where the kernel has one: else libbpf asks for the modules' BTF by id as soon as one type is missing,
	// which needs CAP_SYS_ADMIN, and fails the whole load when refused (libbpf 1.1, bpf_core_find_cands).
	std::string btf_path = KernelBtf::Path();
	int joined = -1;
	if (options.Get("moduleBtf").IsString() && !btf_path.empty()) {
		joined = JoinedBtf(btf_path, options.Get("moduleBtf").As<Napi::String>());
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
	} else if (Expect(options.Get("expect").As<Napi::Object>()) &&
		   Configure(options.Get("config").As<Napi::Object>()) &&
		   Size(options.Get("mapSizes").As<Napi::Object>()) &&
		   Leave(options.Get("without").As<Napi::Array>())) {
		const int err = bpf_object__load(object_);
		if (err != 0) {
			const std::string step = log.FailedStep();
			ThrowErrno(Env(), err, step.empty() ? "load object " + path : step, log.LastLines());
		}
	}
	if (joined >= 0)
		close(joined);
}

bool BpfObject::Expect(const Napi::Object &expected)
{
	const Napi::Array names = expected.GetPropertyNames();
	for (uint32_t i = 0; i < names.Length(); i++) {
		const std::string name = names.Get(i).As<Napi::String>();
		const Napi::Uint8Array value = expected.Get(name).As<Napi::Uint8Array>();
		const std::string wanted = Hex(value.Data(), value.ByteLength());
		Variable variable;
		std::string found = "no such variable";
		if (FindVariable(name, &variable)) {
			const uint8_t *address = Address(variable);
			if (address != nullptr)
				found = Hex(address, variable.size);
		} else {
			Env().GetAndClearPendingException();
		}
		if (found == wanted)
			continue;
		ThrowCode(Env(), "KTRACE_E_LAYOUT", "check " + name,
			  "The BPF object is of another version: expected " + name + " = " + wanted +
				  " (bytes), found " + found);
		return false;
	}
	return true;
}

bool BpfObject::Configure(const Napi::Object &config)
{
	const Napi::Array names = config.GetPropertyNames();
	for (uint32_t i = 0; i < names.Length(); i++) {
		const std::string name = names.Get(i).As<Napi::String>();
		const Napi::Uint8Array value = config.Get(name).As<Napi::Uint8Array>();
		Variable variable;
		if (!FindVariable(name, &variable))
			return false;
		uint8_t *address = Address(variable);
		if (address == nullptr || variable.size != value.ByteLength()) {
			ThrowErrno(Env(), EINVAL,
				   "set " + name + " of " + std::to_string(variable.size) + " bytes to " +
					   std::to_string(value.ByteLength()) + " bytes");
			return false;
		}
		memcpy(address, value.Data(), variable.size);
	}
	return true;
}

bool BpfObject::Size(const Napi::Object &sizes)
{
	const Napi::Array names = sizes.GetPropertyNames();
	for (uint32_t i = 0; i < names.Length(); i++) {
		const std::string name = names.Get(i).As<Napi::String>();
		bpf_map *map = FindMap(name);
		if (map == nullptr)
			return false;
		const int err = bpf_map__set_max_entries(map, sizes.Get(name).As<Napi::Number>().Uint32Value());
		if (err != 0) {
			ThrowErrno(Env(), err, "size map " + name);
			return false;
		}
	}
	return true;
}

bool BpfObject::Leave(const Napi::Array &without)
{
	for (uint32_t i = 0; i < without.Length(); i++) {
		const std::string name = without.Get(i).As<Napi::String>();
		bpf_program *program = bpf_object__find_program_by_name(object_, name.c_str());
		const int err = program == nullptr ? ENOENT : bpf_program__set_autoload(program, false);
		if (err != 0) {
			ThrowErrno(Env(), err, "leave out program " + name);
			return false;
		}
	}
	return true;
}

} // namespace ktrace

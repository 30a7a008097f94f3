// Variables of the object by name: where they are, what they hold.
#include <bpf/btf.h>
#include <linux/btf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "object/bpf-object.h"
#include "util/errors.h"

namespace ktrace
{
namespace
{

size_t PageRounded(size_t bytes)
{
	const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
	return (bytes + page - 1) / page * page;
}

// A number must never be seen half written by a program that runs meanwhile.
void Store(uint8_t *to, const uint8_t *from, size_t size)
{
	const auto address = reinterpret_cast<uintptr_t>(to);
	if (size == 8 && address % 8 == 0) {
		uint64_t value;
		memcpy(&value, from, 8);
		__atomic_store_n(reinterpret_cast<uint64_t *>(to), value, __ATOMIC_RELEASE);
	} else if (size == 4 && address % 4 == 0) {
		uint32_t value;
		memcpy(&value, from, 4);
		__atomic_store_n(reinterpret_cast<uint32_t *>(to), value, __ATOMIC_RELEASE);
	} else {
		memcpy(to, from, size);
	}
}

} // namespace

bool BpfObject::FindVariable(const std::string &name, Variable *variable)
{
	const btf *types = bpf_object__btf(object_);
	const int count = static_cast<int>(btf__type_cnt(types));
	for (int id = 1; id < count; id++) {
		const btf_type *section = btf__type_by_id(types, static_cast<uint32_t>(id));
		if (!btf_is_datasec(section))
			continue;
		const btf_var_secinfo *entry = btf_var_secinfos(section);
		for (int i = 0; i < btf_vlen(section); i++, entry++) {
			const btf_type *type = btf__type_by_id(types, entry->type);
			if (!btf_is_var(type) || name != btf__name_by_offset(types, type->name_off))
				continue;
			variable->section = btf__name_by_offset(types, section->name_off);
			variable->map = bpf_object__find_map_by_name(object_, variable->section.c_str());
			variable->offset = entry->offset;
			variable->size = entry->size;
			if (variable->map != nullptr)
				return true;
		}
	}
	return false;
}

uint8_t *BpfObject::Address(const Variable &variable)
{
	const int fd = bpf_map__fd(variable.map);
	const bool constant = variable.section.rfind(".rodata", 0) == 0;
	if (fd < 0 || constant) {
		// Not loaded yet, or frozen at the load: libbpf's copy is what the programs see.
		size_t size = 0;
		auto *memory = static_cast<uint8_t *>(const_cast<void *>(bpf_map__initial_value(variable.map, &size)));
		return memory == nullptr || variable.offset + variable.size > size ? nullptr : memory + variable.offset;
	}
	Mapped &mapped = sections_[variable.section];
	if (mapped.memory == nullptr) {
		mapped.bytes = PageRounded(bpf_map__value_size(variable.map));
		void *memory = mmap(nullptr, mapped.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory == MAP_FAILED) {
			sections_.erase(variable.section);
			return nullptr;
		}
		mapped.memory = static_cast<uint8_t *>(memory);
	}
	return variable.offset + variable.size > mapped.bytes ? nullptr : mapped.memory + variable.offset;
}

uint32_t *BpfObject::FindWord(const std::string &name)
{
	Variable variable;
	if (object_ == nullptr || !FindVariable(name, &variable) || variable.size != sizeof(uint32_t))
		return nullptr;
	return reinterpret_cast<uint32_t *>(Address(variable));
}

Napi::Value BpfObject::SetGlobal(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const std::string name = info[0].As<Napi::String>();
	const Napi::Uint8Array value = info[1].As<Napi::Uint8Array>();
	Variable variable;
	if (!FindVariable(name, &variable)) {
		ThrowErrno(Env(), ENOENT, "find variable " + name);
		return {};
	}
	if (variable.section.rfind(".rodata", 0) == 0) {
		ThrowErrno(Env(), EROFS, "set constant " + name + " after the load");
		return {};
	}
	if (variable.size != value.ByteLength()) {
		ThrowErrno(Env(), EINVAL,
			   "set " + name + " of " + std::to_string(variable.size) + " bytes to " +
				   std::to_string(value.ByteLength()) + " bytes");
		return {};
	}
	uint8_t *address = Address(variable);
	if (address == nullptr) {
		ThrowErrno(Env(), errno, "map section " + variable.section);
		return {};
	}
	Store(address, value.Data(), variable.size);
	return {};
}

Napi::Value BpfObject::GetGlobal(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const std::string name = info[0].As<Napi::String>();
	Variable variable;
	if (!FindVariable(name, &variable)) {
		ThrowErrno(Env(), ENOENT, "find variable " + name);
		return {};
	}
	const uint8_t *address = Address(variable);
	if (address == nullptr) {
		ThrowErrno(Env(), errno, "map section " + variable.section);
		return {};
	}
	return Napi::Buffer<uint8_t>::Copy(Env(), address, variable.size);
}

} // namespace ktrace

// Maps by name. Sizes are checked here again, although src/native/ names them better: a wrong one would read foreign memory.
#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "object/bpf-object.h"
#include "util/errors.h"

namespace ktrace
{
namespace
{

constexpr uint32_t kBatch = 1024;
constexpr int kNotSupported = 524; // ENOTSUPP

bool PerCpu(const bpf_map *map)
{
	switch (bpf_map__type(map)) {
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
		return true;
	default:
		return false;
	}
}

size_t ValueBytes(const bpf_map *map)
{
	const size_t one = bpf_map__value_size(map);
	return PerCpu(map) ? (one + 7) / 8 * 8 * static_cast<size_t>(libbpf_num_possible_cpus()) : one;
}

// Keys and values as read, not interleaved yet.
struct Entries {
	size_t key_bytes;
	size_t value_bytes;
	size_t max;
	std::vector<uint8_t> keys;
	std::vector<uint8_t> values;
	size_t count = 0;
};

// The kernel reads whole buckets, so entries that come and go meanwhile make nothing twice. -EINVAL when the map knows no batches.
int ReadBatches(int fd, Entries *entries)
{
	// The position of a hash is a bucket's number (u32), that of an array or trie a key.
	std::vector<uint8_t> in(std::max<size_t>(entries->key_bytes, 4)), out(in.size());
	uint32_t room = kBatch;
	bool first = true;
	while (entries->count < entries->max) {
		entries->keys.resize((entries->count + room) * entries->key_bytes);
		entries->values.resize((entries->count + room) * entries->value_bytes);
		uint32_t count = room;
		DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, options);
		const int err =
			bpf_map_lookup_batch(fd, first ? nullptr : in.data(), out.data(),
					     &entries->keys[entries->count * entries->key_bytes],
					     &entries->values[entries->count * entries->value_bytes], &count, &options);
		if (err == -ENOSPC) {
			// One bucket alone holds more.
			room *= 2;
			continue;
		}
		if (err != 0 && err != -ENOENT)
			return err;
		entries->count += count;
		if (err == -ENOENT)
			break;
		in = out;
		first = false;
	}
	return 0;
}

int ReadOneByOne(int fd, Entries *entries)
{
	std::vector<uint8_t> key(entries->key_bytes), value(entries->value_bytes);
	bool first = true;
	entries->keys.clear();
	entries->values.clear();
	entries->count = 0;
	while (entries->count < entries->max) {
		const int err = bpf_map_get_next_key(fd, first ? nullptr : key.data(), key.data());
		if (err == -ENOENT)
			break;
		if (err != 0)
			return err;
		first = false;
		// Deleted meanwhile: the next key is what matters.
		if (bpf_map_lookup_elem(fd, key.data(), value.data()) != 0)
			continue;
		entries->keys.insert(entries->keys.end(), key.begin(), key.end());
		entries->values.insert(entries->values.end(), value.begin(), value.end());
		entries->count++;
	}
	return 0;
}

// Hashes know it since 5.14. Before, what is written between look-up and deletion is lost.
int TakeOne(int fd, const void *key, void *value)
{
	int err = bpf_map_lookup_and_delete_elem(fd, key, value);
	if (err != -EINVAL && err != -EOPNOTSUPP && err != -kNotSupported)
		return err;
	err = bpf_map_lookup_elem(fd, key, value);
	return err != 0 ? err : bpf_map_delete_elem(fd, key);
}

} // namespace

bpf_map *BpfObject::FindMap(const std::string &name)
{
	if (!Opened())
		return nullptr;
	bpf_map *map = bpf_object__find_map_by_name(object_, name.c_str());
	if (map == nullptr)
		ThrowErrno(Env(), ENOENT, "find map " + name);
	return map;
}

Napi::Value BpfObject::MapUpdate(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const Napi::Uint8Array key = info[1].As<Napi::Uint8Array>();
	const Napi::Uint8Array value = info[2].As<Napi::Uint8Array>();
	const bpf_map *map = FindMap(name);
	if (map == nullptr)
		return {};
	int err = -EINVAL;
	if (key.ByteLength() == bpf_map__key_size(map) && value.ByteLength() == ValueBytes(map)) {
		err = bpf_map_update_elem(bpf_map__fd(map), key.Data(), value.Data(),
					  static_cast<uint64_t>(info[3].As<Napi::Number>().Int64Value()));
	}
	if (err != 0)
		ThrowErrno(Env(), err, "update map " + name);
	return {};
}

Napi::Value BpfObject::MapLookup(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const Napi::Uint8Array key = info[1].As<Napi::Uint8Array>();
	const bpf_map *map = FindMap(name);
	if (map == nullptr)
		return {};
	std::vector<uint8_t> value(ValueBytes(map));
	int err = -EINVAL;
	if (key.ByteLength() == bpf_map__key_size(map))
		err = bpf_map_lookup_elem(bpf_map__fd(map), key.Data(), value.data());
	if (err == -ENOENT)
		return Env().Undefined();
	if (err != 0) {
		ThrowErrno(Env(), err, "look up in map " + name);
		return {};
	}
	return Napi::Buffer<uint8_t>::Copy(Env(), value.data(), value.size());
}

Napi::Value BpfObject::MapDelete(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const Napi::Uint8Array key = info[1].As<Napi::Uint8Array>();
	const bpf_map *map = FindMap(name);
	if (map == nullptr)
		return {};
	int err = -EINVAL;
	if (key.ByteLength() == bpf_map__key_size(map))
		err = bpf_map_delete_elem(bpf_map__fd(map), key.Data());
	if (err != 0 && err != -ENOENT) {
		ThrowErrno(Env(), err, "delete from map " + name);
		return {};
	}
	return Napi::Boolean::New(Env(), err == 0);
}

Napi::Value BpfObject::MapTake(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const Napi::Uint8Array keys = info[1].As<Napi::Uint8Array>();
	const bpf_map *map = FindMap(name);
	if (map == nullptr)
		return {};
	const size_t key_bytes = bpf_map__key_size(map);
	const size_t stride = key_bytes + ValueBytes(map);
	const size_t count = keys.ByteLength() / key_bytes;
	std::vector<uint8_t> taken(count * stride);
	size_t found = 0;
	int err = keys.ByteLength() % key_bytes == 0 ? 0 : -EINVAL;
	for (size_t i = 0; i < count && err == 0; i++) {
		uint8_t *entry = &taken[found * stride];
		memcpy(entry, keys.Data() + i * key_bytes, key_bytes);
		err = TakeOne(bpf_map__fd(map), entry, entry + key_bytes);
		if (err == 0)
			found++;
		else if (err == -ENOENT)
			err = 0;
	}
	// What was taken already is nowhere else any more.
	if (err != 0 && found == 0) {
		ThrowErrno(Env(), err, "take from map " + name);
		return {};
	}
	return Napi::Buffer<uint8_t>::Copy(Env(), taken.data(), found * stride);
}

Napi::Value BpfObject::MapEntries(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const bpf_map *map = FindMap(name);
	if (map == nullptr)
		return {};
	Entries entries{ bpf_map__key_size(map), ValueBytes(map), info[1].As<Napi::Number>().Uint32Value(), {}, {}, 0 };
	int err = ReadBatches(bpf_map__fd(map), &entries);
	if (err == -EINVAL || err == -EOPNOTSUPP || err == -kNotSupported)
		err = ReadOneByOne(bpf_map__fd(map), &entries);
	if (err != 0) {
		ThrowErrno(Env(), err, "read map " + name);
		return {};
	}
	const size_t count = std::min(entries.count, entries.max);
	const size_t stride = entries.key_bytes + entries.value_bytes;
	Napi::Buffer<uint8_t> result = Napi::Buffer<uint8_t>::New(Env(), count * stride);
	if (result.IsEmpty())
		return {};
	for (size_t i = 0; i < count; i++) {
		memcpy(result.Data() + i * stride, &entries.keys[i * entries.key_bytes], entries.key_bytes);
		memcpy(result.Data() + i * stride + entries.key_bytes, &entries.values[i * entries.value_bytes],
		       entries.value_bytes);
	}
	return result;
}

Napi::Value BpfObject::MapInfo(const Napi::CallbackInfo &info)
{
	const bpf_map *map = FindMap(info[0].As<Napi::String>());
	if (map == nullptr)
		return {};
	Napi::Object result = Napi::Object::New(Env());
	result.Set("keyBytes", Napi::Number::New(Env(), bpf_map__key_size(map)));
	result.Set("valueBytes", Napi::Number::New(Env(), static_cast<double>(ValueBytes(map))));
	result.Set("maxEntries", Napi::Number::New(Env(), bpf_map__max_entries(map)));
	return result;
}

Napi::Value BpfObject::MapSetProgram(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const uint32_t index = info[1].As<Napi::Number>().Uint32Value();
	const std::string program_name = info[2].As<Napi::String>();
	const bpf_map *map = FindMap(name);
	if (map == nullptr)
		return {};
	const bpf_program *program = FindProgram(program_name);
	if (program == nullptr)
		return {};
	const int fd = bpf_program__fd(program);
	int err = -EINVAL;
	if (bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY)
		err = bpf_map_update_elem(bpf_map__fd(map), &index, &fd, BPF_ANY);
	if (err != 0)
		ThrowErrno(Env(), err,
			   "put program " + program_name + " into map " + name + " at " + std::to_string(index));
	return {};
}

} // namespace ktrace

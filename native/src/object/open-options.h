// What a BPF object is opened with, read from JavaScript once and whole.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ktrace
{

using Bytes = std::vector<uint8_t>;

struct OpenOptions {
	std::vector<std::pair<std::string, Bytes>> config;
	std::vector<std::pair<std::string, Bytes>> expect;
	std::vector<std::pair<std::string, uint32_t>> map_sizes;
	// Hash maps whose elements are all allocated when they are made (true), or as they come.
	std::vector<std::pair<std::string, bool>> preallocated;
	std::vector<std::string> without;
	// When not empty: these and no others.
	std::vector<std::string> only;
	// Programs of fentry and the kernel functions they are for.
	std::vector<std::pair<std::string, std::string>> targets;
	// Empty: none.
	std::string module_btf;
};

// False in an environment that is being ended (worker.terminate()): from then on reading any property fails.
bool ReadOpenOptions(const Napi::Object &given, OpenOptions *options);

} // namespace ktrace

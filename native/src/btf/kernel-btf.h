// The running kernel's type information, or the file that stands for it.
#pragma once

#include <bpf/btf.h>

#include <functional>
#include <string>

namespace ktrace
{

class KernelBtf
{
public:
	KernelBtf() = default;
	~KernelBtf();
	KernelBtf(const KernelBtf &) = delete;
	KernelBtf &operator=(const KernelBtf &) = delete;

	// KTRACE_BTF, else /sys/kernel/btf/vmlinux; empty when the kernel keeps its BTF elsewhere (libbpf searches /boot and the like).
	static std::string Path();

	// Read at the first call and kept until Release(); null when there is none.
	const btf *Get();
	// What Get() gave is gone. The next call reads it again: a kernel's types take 6 MB.
	void Release();
	// Asks the kernel, then each module that has BTF, until `found` is true. Modules are read again each time: they come and go.
	bool Any(const std::function<bool(const btf *, int first_id)> &found);

private:
	btf *btf_ = nullptr;
};

// The types of the kernel and of one module in one BTF file, as an unnamed file in memory. Gives the descriptor, or -errno;
// -ENOENT when there is no such module. A module's BTF continues the kernel's type numbers and string offsets, so laying one behind
// the other is all it takes.
int JoinedBtf(const std::string &kernel_path, const std::string &module);

} // namespace ktrace

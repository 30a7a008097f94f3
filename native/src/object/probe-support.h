// Whether the kernel lets programs be attached to its functions, found out by trying with one that does nothing.
#pragma once

#include <bpf/btf.h>

namespace ktrace
{

// 0 when a program of fentry loads and attaches, else -errno.
int FentrySupported(const btf *kernel);
// The same for a kprobe: the program loads, and the kernel makes an event of the function.
int KprobeSupported();

} // namespace ktrace

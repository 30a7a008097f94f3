// What belongs to one JavaScript environment (the main thread or a worker): nothing here is shared between threads.
#pragma once

#include <napi.h>

#include "btf/kernel-btf.h"

namespace ktrace
{

struct State {
	// Kept so that readRing can tell an object of ours from anything else that is handed in.
	Napi::FunctionReference bpf_object;
	KernelBtf kernel_btf;
};

inline State &StateOf(Napi::Env env)
{
	return *env.GetInstanceData<State>();
}

} // namespace ktrace

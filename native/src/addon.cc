// What the addon exports; src/native/raw.ts types it. Arguments are checked there, and not again here.
#include <napi.h>

#include <malloc.h>

#include <cstdint>
#include <ctime>
#include <limits>

#include "object/bpf-object.h"
#include "btf/btf.h"
#include "link/clsact.h"
#include "util/errors.h"
#include "util/file-guard.h"
#include "link/link-watcher.h"
#include "object/probe-support.h"
#include "object/ring-reader.h"
#include "link/routes.h"
#include "btf/state.h"
#include "object/stats.h"
#include "link/tcx.h"

namespace ktrace
{
namespace
{

int64_t Nanoseconds(clockid_t clock)
{
	timespec now = {};
	clock_gettime(clock, &now);
	return int64_t{ now.tv_sec } * 1000000000 + now.tv_nsec;
}

// Of several readings, the one with the least time between its two monotonic ones.
Napi::Value RealtimeOffsetNs(const Napi::CallbackInfo &info)
{
	int64_t least = std::numeric_limits<int64_t>::max();
	int64_t offset = 0;
	for (int i = 0; i < 16; i++) {
		const int64_t before = Nanoseconds(CLOCK_MONOTONIC);
		const int64_t real = Nanoseconds(CLOCK_REALTIME);
		const int64_t after = Nanoseconds(CLOCK_MONOTONIC);
		if (after - before >= least)
			continue;
		least = after - before;
		offset = real - (before + (after - before) / 2);
	}
	return Napi::BigInt::New(info.Env(), offset);
}

// What malloc keeps between pieces that are in use, too: it gives back by itself what is free at its end alone.
void TrimMemory(const Napi::CallbackInfo &)
{
	malloc_trim(0);
}

Napi::Value SupportsTcx(const Napi::CallbackInfo &info)
{
	const int answer = TcxSupported();
	if (answer < 0) {
		ThrowErrno(info.Env(), answer, "probe tcx");
		return {};
	}
	return Napi::Boolean::New(info.Env(), answer == 1);
}

// What the kernel says to a program on one of its functions: nothing, or it throws.
Napi::Value TryFentry(const Napi::CallbackInfo &info)
{
	const int err = FentrySupported(StateOf(info.Env()).kernel_btf.Get());
	if (err != 0)
		ThrowErrno(info.Env(), err, "try fentry");
	return {};
}

Napi::Value TryKprobe(const Napi::CallbackInfo &info)
{
	const int err = KprobeSupported();
	if (err != 0)
		ThrowErrno(info.Env(), err, "try kprobe");
	return {};
}

Napi::Value RemoveStale(const Napi::CallbackInfo &info)
{
	const int removed = RemoveStaleFilters(info[0].As<Napi::String>());
	if (removed < 0) {
		ThrowErrno(info.Env(), removed, "remove stale filters");
		return {};
	}
	return Napi::Number::New(info.Env(), removed);
}

Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	auto *state = new State;
	const Napi::Function bpf_object = BpfObject::Define(env);
	state->bpf_object = Napi::Persistent(bpf_object);
	env.SetInstanceData(state);
	exports.Set("BpfObject", bpf_object);
	exports.Set("RingReader", RingReader::Define(env));
	exports.Set("LinkWatcher", LinkWatcher::Define(env));
	exports.Set("StatsHandle", StatsHandle::Define(env));
	exports.Set("FileGuard", FileGuard::Define(env));
	exports.Set("addresses", Napi::Function::New<Addresses>(env));
	exports.Set("defaultRouteInterfaces", Napi::Function::New<DefaultRouteInterfaces>(env));
	exports.Set("trimMemory", Napi::Function::New<TrimMemory>(env));
	exports.Set("realtimeOffsetNs", Napi::Function::New<RealtimeOffsetNs>(env));
	exports.Set("tcxSupported", Napi::Function::New<SupportsTcx>(env));
	exports.Set("tryFentry", Napi::Function::New<TryFentry>(env));
	exports.Set("tryKprobe", Napi::Function::New<TryKprobe>(env));
	exports.Set("removeStaleFilters", Napi::Function::New<RemoveStale>(env));
	exports.Set("btf", DefineBtf(env));
	return exports;
}

} // namespace
} // namespace ktrace

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports)
{
	return ktrace::Init(env, exports);
}

NODE_API_MODULE(ktrace_native, InitAddon)

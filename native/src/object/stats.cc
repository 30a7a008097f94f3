#include "object/stats.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include "util/errors.h"

namespace ktrace
{

Napi::Function StatsHandle::Define(Napi::Env env)
{
	return DefineClass(env, "StatsHandle", { InstanceMethod<&StatsHandle::Close>("close") });
}

StatsHandle::StatsHandle(const Napi::CallbackInfo &info) : ObjectWrap(info)
{
	fd_ = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (fd_ < 0)
		ThrowErrno(Env(), fd_, "enable statistics of BPF programs");
}

StatsHandle::~StatsHandle()
{
	if (fd_ >= 0)
		close(fd_);
}

Napi::Value StatsHandle::Close(const Napi::CallbackInfo &)
{
	if (fd_ >= 0)
		close(fd_);
	fd_ = -1;
	return {};
}

} // namespace ktrace

// The kernel's run-time statistics of BPF programs.
#pragma once

#include <napi.h>

namespace ktrace
{

// On while an object of this class is open.
class StatsHandle : public Napi::ObjectWrap<StatsHandle>
{
public:
	static Napi::Function Define(Napi::Env env);
	explicit StatsHandle(const Napi::CallbackInfo &info);
	~StatsHandle() override;

private:
	Napi::Value Close(const Napi::CallbackInfo &info);

	int fd_ = -1;
};

} // namespace ktrace

// Tells of interfaces and addresses as they come, change and go.
#pragma once

#include <napi.h>

#include <memory>

#include "util/callback.h"
#include "util/loop-watch.h"
#include "link/netlink.h"

namespace ktrace
{

class LinkWatcher : public Napi::ObjectWrap<LinkWatcher>, private LoopWatch::Handler
{
public:
	static Napi::Function Define(Napi::Env env);
	// (onChange)
	explicit LinkWatcher(const Napi::CallbackInfo &info);
	~LinkWatcher() override;

private:
	Napi::Value Links(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	void OnReadable() override;
	void OnTeardown() override;

	Netlink netlink_;
	LoopWatch *watch_ = nullptr;
	std::unique_ptr<Callback> on_change_;
};

} // namespace ktrace

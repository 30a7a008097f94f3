#include "link/link-watcher.h"

#include <fcntl.h>

#include <cerrno>

#include "util/errors.h"
#include "link/link-message.h"

namespace ktrace
{
namespace
{

// Datagrams read in one turn of the loop; the descriptor stays readable for the rest.
constexpr int kReadsPerTurn = 64;

} // namespace

Napi::Function LinkWatcher::Define(Napi::Env env)
{
	return DefineClass(env, "LinkWatcher",
			   {
				   InstanceMethod<&LinkWatcher::Links>("links"),
				   InstanceMethod<&LinkWatcher::Close>("close"),
			   });
}

LinkWatcher::LinkWatcher(const Napi::CallbackInfo &info) : ObjectWrap(info)
{
	const int err = netlink_.Open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
				      RTMGRP_IPV6_ROUTE);
	if (err != 0) {
		ThrowErrno(Env(), err, "watch links");
		return;
	}
	// The watch closes its descriptor when libuv has let go of it, which is later than this object may live.
	const int fd = fcntl(netlink_.Fd(), F_DUPFD_CLOEXEC, 0);
	watch_ = LoopWatch::Start(Env(), this, fd, 0, false);
	if (watch_ == nullptr)
		return;
	on_change_ = std::make_unique<Callback>(info[0].As<Napi::Function>(), "ktrace.LinkWatcher");
	Ref();
}

LinkWatcher::~LinkWatcher()
{
	if (watch_ != nullptr)
		watch_->Close();
}

Napi::Value LinkWatcher::Links(const Napi::CallbackInfo &)
{
	if (watch_ == nullptr) {
		ThrowCode(Env(), "KTRACE_E_CLOSED", "list links", "This link watcher is closed");
		return {};
	}
	// A socket of its own: an answer must not get between the changes that wait to be read.
	Netlink netlink;
	std::vector<std::vector<char>> answers;
	ifinfomsg request = {};
	int err = netlink.Open(0);
	if (err == 0)
		err = netlink.Dump(Message(RTM_GETLINK, &request, sizeof request), &answers);
	if (err != 0) {
		ThrowErrno(Env(), err, "list links");
		return {};
	}
	Napi::Array links = Napi::Array::New(Env(), answers.size());
	for (uint32_t i = 0; i < answers.size(); i++) {
		links.Set(i, LinkOf(Env(), reinterpret_cast<const nlmsghdr *>(answers[i].data())));
	}
	return links;
}

Napi::Value LinkWatcher::Close(const Napi::CallbackInfo &)
{
	if (watch_ == nullptr)
		return {};
	watch_->Close();
	watch_ = nullptr;
	on_change_.reset();
	Unref();
	return {};
}

void LinkWatcher::OnReadable()
{
	const Napi::HandleScope scope(Env());
	const Napi::Object self = Value();
	for (int reads = 0; reads < kReadsPerTurn && watch_ != nullptr; reads++) {
		std::vector<std::vector<char>> messages;
		const int err = netlink_.Receive(&messages);
		if (err == -EAGAIN)
			return;
		if (err != 0) {
			// ENOBUFS as a rule; whatever else it is, what was missed can only be learned by reading everything anew.
			// The kernel goes on dropping until its queue is empty (NETLINK_S_CONGESTED), so what waits goes first:
			// else a change could be missed by the reading anew and by the watch.
			while (netlink_.Receive(&messages) == 0)
				messages.clear();
			Napi::Object change = Napi::Object::New(Env());
			change.Set("kind", Napi::String::New(Env(), "overrun"));
			on_change_->Call(Env(), change);
			return;
		}
		for (const auto &message : messages) {
			const Napi::HandleScope one(Env());
			const Napi::Value change =
				LinkChangeOf(Env(), reinterpret_cast<const nlmsghdr *>(message.data()));
			if (watch_ != nullptr && !change.IsEmpty())
				on_change_->Call(Env(), change);
		}
	}
}

void LinkWatcher::OnTeardown()
{
	watch_ = nullptr;
}

} // namespace ktrace

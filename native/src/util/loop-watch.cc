#include "util/loop-watch.h"

#include <unistd.h>

#include "util/errors.h"

namespace ktrace
{

LoopWatch *LoopWatch::Start(Napi::Env env, Handler *handler, int fd, uint64_t interval_ms, bool unref)
{
	uv_loop_t *loop = nullptr;
	auto *watch = new LoopWatch;
	watch->handler_ = handler;
	watch->fd_ = fd;
	watch->interval_ms_ = interval_ms;
	int err = napi_get_uv_event_loop(env, &loop) == napi_ok ? 0 : UV_EINVAL;
	if (err == 0)
		err = uv_poll_init(loop, &watch->poll_, fd);
	if (err != 0) {
		close(fd);
		delete watch;
		ThrowErrno(env, err, "watch a descriptor");
		return nullptr;
	}
	uv_timer_init(loop, &watch->timer_);
	watch->open_handles_ = 2;
	watch->poll_.data = watch;
	watch->timer_.data = watch;
	const auto on_end = [](napi_async_cleanup_hook_handle, void *data) {
		auto *ended = static_cast<LoopWatch *>(data);
		if (ended->handler_ != nullptr)
			ended->handler_->OnTeardown();
		ended->Close();
	};
	napi_add_async_cleanup_hook(env, on_end, watch, &watch->hook_);
	uv_poll_start(&watch->poll_, UV_READABLE, HandleReadable);
	if (interval_ms != 0)
		uv_timer_start(&watch->timer_, HandleTimer, interval_ms, interval_ms);
	if (unref) {
		uv_unref(reinterpret_cast<uv_handle_t *>(&watch->poll_));
		uv_unref(reinterpret_cast<uv_handle_t *>(&watch->timer_));
	}
	return watch;
}

void LoopWatch::Next(uint64_t after_ms)
{
	if (closing_ || interval_ms_ == 0)
		return;
	// The loop's time is that of its turn's beginning: what has run since would be taken from the time to wait.
	uv_update_time(timer_.loop);
	uv_timer_start(&timer_, HandleTimer, after_ms, interval_ms_);
}

void LoopWatch::Pace(uint64_t interval_ms)
{
	if (closing_)
		return;
	interval_ms_ = interval_ms;
	uv_timer_start(&timer_, HandleTimer, interval_ms, interval_ms);
}

void LoopWatch::Close()
{
	handler_ = nullptr;
	if (closing_)
		return;
	closing_ = true;
	uv_poll_stop(&poll_);
	uv_close(reinterpret_cast<uv_handle_t *>(&poll_), HandleClosed);
	uv_close(reinterpret_cast<uv_handle_t *>(&timer_), HandleClosed);
}

void LoopWatch::HandleReadable(uv_poll_t *poll, int status, int)
{
	auto *readable = static_cast<LoopWatch *>(poll->data);
	if (readable->handler_ != nullptr)
		readable->handler_->OnReadable();
	// A socket with a pending error (ENOBUFS of netlink) makes libuv stop watching; reading it took the error away.
	if (status < 0 && !readable->closing_)
		uv_poll_start(poll, UV_READABLE, HandleReadable);
}

void LoopWatch::HandleTimer(uv_timer_t *timer)
{
	auto *due = static_cast<LoopWatch *>(timer->data);
	if (due->handler_ != nullptr)
		due->handler_->OnTimer();
}

void LoopWatch::HandleClosed(uv_handle_t *handle)
{
	auto *watch = static_cast<LoopWatch *>(handle->data);
	if (--watch->open_handles_ != 0)
		return;
	close(watch->fd_);
	if (watch->hook_ != nullptr)
		napi_remove_async_cleanup_hook(watch->hook_);
	delete watch;
}

} // namespace ktrace

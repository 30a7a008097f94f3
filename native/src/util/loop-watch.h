// A timer and a descriptor watched on Node's loop, with the one life cycle that all readers share: closed once, freed when libuv has let
// go, closed by the environment's end too (process exit, worker.terminate()).
#pragma once

#include <napi.h>
#include <uv.h>

#include <cstdint>

namespace ktrace
{

class LoopWatch
{
public:
	class Handler
	{
	public:
		virtual void OnTimer() {}
		virtual void OnReadable() = 0;
		// The environment ends: no JavaScript may run any more. The watch closes itself after this.
		virtual void OnTeardown() = 0;

	protected:
		~Handler() = default;
	};

	// Watches `fd` for reading and, when interval_ms is not 0, calls OnTimer at that pace. Takes the descriptor over.
	// Null when libuv refuses, with a JavaScript error thrown and the descriptor closed.
	static LoopWatch *Start(Napi::Env env, Handler *handler, int fd, uint64_t interval_ms, bool unref);

	// Calls OnTimer once after this time, in the next turn of the loop when it is 0, and at its pace from then on.
	void Next(uint64_t after_ms);
	// From now on OnTimer is called at this pace.
	void Pace(uint64_t interval_ms);
	// The handler hears nothing any more; the watch frees itself later.
	void Close();

private:
	LoopWatch() = default;
	static void HandleReadable(uv_poll_t *poll, int status, int events);
	static void HandleTimer(uv_timer_t *timer);
	static void HandleClosed(uv_handle_t *handle);

	Handler *handler_ = nullptr;
	uv_timer_t timer_;
	uv_poll_t poll_;
	int fd_ = -1;
	uint64_t interval_ms_ = 0;
	int open_handles_ = 0;
	bool closing_ = false;
	napi_async_cleanup_hook_handle hook_ = nullptr;
};

} // namespace ktrace

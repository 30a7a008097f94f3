// Reads one BPF ring buffer on Node's loop.
#pragma once

#include <bpf/libbpf.h>
#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "util/callback.h"
#include "util/loop-watch.h"

namespace ktrace
{

class RingReader : public Napi::ObjectWrap<RingReader>, private LoopWatch::Handler
{
public:
	static Napi::Function Define(Napi::Env env);
	// (object, map, intervalMs, batchBytes, mostBusy, unref, restsIn, onRecords)
	explicit RingReader(const Napi::CallbackInfo &info);
	~RingReader() override;

private:
	Napi::Value Drain(const Napi::CallbackInfo &info);
	// (intervalMs)
	Napi::Value Pace(const Napi::CallbackInfo &info);
	Napi::Value Stats(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	void OnTimer() override;
	void OnReadable() override;
	void OnTeardown() override;

	static int Take(void *reader, void *record, size_t length);
	// One batch, or as much as the ring holds.
	void Consume(bool all);
	void Deliver();
	// Leaves the thread alone after a reading that has kept it busy for this long.
	void Pause(uint64_t busy_ns, bool more);
	// Nothing was read, once more.
	void Rest();
	void Wake();
	// The variable that says that the reader rests; null where it never does.
	uint32_t *RestFlag();
	void Stop();

	ring_buffer *ring_ = nullptr;
	// Of our own, so that what the ring still holds can be read after its object was closed.
	int map_fd_ = -1;
	int wakeup_fd_ = -1;
	LoopWatch *watch_ = nullptr;
	// An object with a living reader is in use: it must not be collected, which would detach its programs.
	Napi::ObjectReference object_;
	std::unique_ptr<Callback> on_records_;

	size_t batch_limit_ = 0;
	size_t turn_limit_ = 0;
	std::vector<uint8_t> batch_;
	// How much of batch_ goes out: a record that made it too large stays for the next.
	size_t ready_ = 0;

	// Name of the flag; empty: the timer keeps its pace.
	std::string rests_in_;
	uint32_t interval_ms_ = 0;
	// The share of the thread's time that readings may take, from 0 to 1.
	double most_busy_ = 1;
	// uv_hrtime; no wake-up of the kernel's is followed before.
	uint64_t paused_until_ns_ = 0;
	int quiet_readings_ = 0;
	bool rests_ = false;

	double records_ = 0;
	double bytes_ = 0;
	double calls_ = 0;
	double wakeups_ = 0;
};

} // namespace ktrace

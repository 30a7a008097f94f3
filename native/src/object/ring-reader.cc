#include "object/ring-reader.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "object/bpf-object.h"
#include "util/errors.h"
#include "util/libbpf-log.h"
#include "btf/state.h"

namespace ktrace
{
namespace
{

constexpr size_t kPrefixBytes = 8;
constexpr int kBatchIsFull = -EXFULL;
// The timer's readings that find nothing before the kernel is asked to wake the reader.
constexpr int kQuietReadings = 4;
// Meanwhile: how late a record would be that has woken nobody.
constexpr uint32_t kRestMs = 2000;
// A process that was stopped while it read was not busy for as long: it must not pause by that.
constexpr double kMostPauseNs = 250e6;

// Reports the kernel's wake-ups and nothing else. A level-triggered watch, as ring_buffer__epoll_fd gives, would after each wake-up ask
// again whether there is anything to read, so under load records would come a few at a time instead of at the timer's pace.
int WatchWakeups(int map_fd)
{
	const int fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	epoll_event event = {};
	event.events = EPOLLIN | EPOLLET;
	if (epoll_ctl(fd, EPOLL_CTL_ADD, map_fd, &event) == 0)
		return fd;
	const int err = -errno;
	close(fd);
	return err;
}

} // namespace

Napi::Function RingReader::Define(Napi::Env env)
{
	return DefineClass(env, "RingReader",
			   {
				   InstanceMethod<&RingReader::Drain>("drain"),
				   InstanceMethod<&RingReader::Pace>("pace"),
				   InstanceMethod<&RingReader::Stats>("stats"),
				   InstanceMethod<&RingReader::Close>("close"),
			   });
}

RingReader::RingReader(const Napi::CallbackInfo &info) : ObjectWrap(info)
{
	const Napi::Object holder = info[0].As<Napi::Object>();
	const std::string name = info[1].As<Napi::String>();
	interval_ms_ = info[2].As<Napi::Number>().Uint32Value();
	batch_limit_ = info[3].As<Napi::Number>().Uint32Value();
	most_busy_ = info[4].As<Napi::Number>().DoubleValue();
	if (!holder.InstanceOf(StateOf(Env()).bpf_object.Value())) {
		ThrowErrno(Env(), EINVAL, "read ring " + name + " of something that is no BPF object");
		return;
	}
	BpfObject *object = BpfObject::Unwrap(holder);
	const bpf_map *map = object == nullptr ? nullptr : object->FindMap(name);
	if (map == nullptr)
		return;
	LibbpfLog log;
	map_fd_ = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0);
	ring_ = ring_buffer__new(map_fd_, Take, this, nullptr);
	if (ring_ == nullptr) {
		ThrowErrno(Env(), errno, "read ring " + name, log.LastLines());
		return;
	}
	turn_limit_ = bpf_map__max_entries(map);
	wakeup_fd_ = WatchWakeups(map_fd_);
	if (wakeup_fd_ < 0) {
		ThrowErrno(Env(), wakeup_fd_, "watch ring " + name);
		return;
	}
	rests_in_ = info[6].As<Napi::String>().Utf8Value();
	if (!rests_in_.empty() && object->FindWord(rests_in_) == nullptr) {
		ThrowErrno(Env(), ENOENT, "find variable " + rests_in_);
		return;
	}
	watch_ = LoopWatch::Start(Env(), this, wakeup_fd_, interval_ms_, info[5].As<Napi::Boolean>());
	if (watch_ == nullptr)
		return;
	object_ = Napi::Persistent(holder);
	on_records_ = std::make_unique<Callback>(info[7].As<Napi::Function>(), "ktrace.RingReader");
	// It reads until it is closed, whether or not anybody still holds it.
	Ref();
}

RingReader::~RingReader()
{
	if (watch_ != nullptr)
		watch_->Close();
	ring_buffer__free(ring_);
	if (map_fd_ >= 0)
		close(map_fd_);
}

Napi::Value RingReader::Drain(const Napi::CallbackInfo &)
{
	if (ring_ == nullptr) {
		ThrowCode(Env(), "KTRACE_E_CLOSED", "drain a ring", "This ring reader is closed");
		return {};
	}
	Consume(true);
	return {};
}

Napi::Value RingReader::Pace(const Napi::CallbackInfo &info)
{
	const uint32_t interval_ms = info[0].As<Napi::Number>().Uint32Value();
	// Told again and again it must not put off its next reading.
	const bool is_new = interval_ms != interval_ms_;
	interval_ms_ = interval_ms;
	if (is_new && watch_ != nullptr && !rests_)
		watch_->Pace(interval_ms_);
	return {};
}

Napi::Value RingReader::Stats(const Napi::CallbackInfo &)
{
	Napi::Object result = Napi::Object::New(Env());
	result.Set("records", Napi::Number::New(Env(), records_));
	result.Set("bytes", Napi::Number::New(Env(), bytes_));
	result.Set("calls", Napi::Number::New(Env(), calls_));
	result.Set("wakeups", Napi::Number::New(Env(), wakeups_));
	return result;
}

Napi::Value RingReader::Close(const Napi::CallbackInfo &)
{
	if (ring_ == nullptr)
		return {};
	Stop();
	object_.Reset();
	on_records_.reset();
	Unref();
	return {};
}

void RingReader::OnTimer()
{
	const double before = records_;
	Consume(false);
	if (watch_ == nullptr)
		return;
	if (records_ == before)
		Rest();
	else
		Wake();
}

/*
 * The flag is set one reading before the timer slows down: a program that looked at it before may put its record into the ring after the first of the two,
 * and has not woken anybody.
 */
void RingReader::Rest()
{
	quiet_readings_++;
	if (rests_ || quiet_readings_ < kQuietReadings)
		return;
	const Napi::HandleScope scope(Env());
	uint32_t *flag = RestFlag();
	if (flag == nullptr)
		return;
	if (quiet_readings_ == kQuietReadings) {
		__atomic_store_n(flag, 1, __ATOMIC_SEQ_CST);
		return;
	}
	rests_ = true;
	watch_->Pace(kRestMs);
}

void RingReader::Wake()
{
	quiet_readings_ = 0;
	if (!rests_)
		return;
	rests_ = false;
	watch_->Pace(interval_ms_);
}

uint32_t *RingReader::RestFlag()
{
	BpfObject *object = rests_in_.empty() ? nullptr : BpfObject::Unwrap(object_.Value());
	return object == nullptr ? nullptr : object->FindWord(rests_in_);
}

void RingReader::OnReadable()
{
	epoll_event event;
	// Taking the event is what re-arms the edge.
	epoll_wait(wakeup_fd_, &event, 1, 0);
	wakeups_++;
	Wake();
	// The timer reads what woke us.
	if (uv_hrtime() >= paused_until_ns_)
		Consume(false);
}

void RingReader::OnTeardown()
{
	watch_ = nullptr;
	Stop();
}

int RingReader::Take(void *context, void *record, size_t length)
{
	auto *reader = static_cast<RingReader *>(context);
	std::vector<uint8_t> &batch = reader->batch_;
	const size_t before = batch.size();
	const size_t padded = (length + 7) / 8 * 8;
	const bool overflows = before > 0 && before + kPrefixBytes + padded > reader->batch_limit_;
	const uint32_t prefix[2] = { static_cast<uint32_t>(length), 0 };
	batch.resize(before + kPrefixBytes + padded);
	memcpy(&batch[before], prefix, kPrefixBytes);
	memcpy(&batch[before + kPrefixBytes], record, length);
	reader->records_++;
	reader->bytes_ += static_cast<double>(length);
	reader->ready_ = overflows ? before : batch.size();
	return overflows ? kBatchIsFull : 0;
}

// JavaScript never runs inside libbpf's loop, so a callback may close this reader or its object, or drain again.
void RingReader::Consume(bool all)
{
	const Napi::HandleScope scope(Env());
	const Napi::Object self = Value();
	const uint64_t began_ns = uv_hrtime();
	size_t taken = 0;
	bool more = true;
	while (more && ring_ != nullptr && taken < (all ? turn_limit_ : 1)) {
		more = ring_buffer__consume(ring_) == kBatchIsFull;
		if (!more)
			ready_ = batch_.size();
		taken += ready_;
		Deliver();
	}
	if (watch_ != nullptr)
		Pause(uv_hrtime() - began_ns, more);
}

// What is left in the ring, and what a fast kernel side added meanwhile, waits for the loop's other work first.
void RingReader::Pause(uint64_t busy_ns, bool more)
{
	const double pause_ns = std::min(static_cast<double>(busy_ns) * (1 / most_busy_ - 1), kMostPauseNs);
	const auto pause_ms = static_cast<uint64_t>(std::ceil(pause_ns / 1e6));
	if (!more && pause_ms <= interval_ms_)
		return;
	paused_until_ns_ = uv_hrtime() + static_cast<uint64_t>(pause_ns);
	watch_->Next(pause_ms);
}

void RingReader::Deliver()
{
	if (ready_ == 0)
		return;
	const Napi::HandleScope scope(Env());
	napi_value records = nullptr;
	napi_create_buffer_copy(Env(), ready_, batch_.data(), nullptr, &records);
	batch_.erase(batch_.begin(), batch_.begin() + static_cast<ptrdiff_t>(ready_));
	ready_ = 0;
	calls_++;
	on_records_->Call(Env(), records);
}

void RingReader::Stop()
{
	if (watch_ != nullptr)
		watch_->Close();
	watch_ = nullptr;
	ring_buffer__free(ring_);
	ring_ = nullptr;
	close(map_fd_);
	map_fd_ = -1;
}

} // namespace ktrace

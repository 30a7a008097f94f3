#include "object/bpf-object.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "util/errors.h"
#include "util/libbpf-log.h"
#include "link/tcx.h"

namespace ktrace
{

Napi::Function BpfObject::Define(Napi::Env env)
{
	return DefineClass(env, "BpfObject",
			   {
				   InstanceMethod<&BpfObject::MapUpdate>("mapUpdate"),
				   InstanceMethod<&BpfObject::MapLookup>("mapLookup"),
				   InstanceMethod<&BpfObject::MapDelete>("mapDelete"),
				   InstanceMethod<&BpfObject::MapTake>("mapTake"),
				   InstanceMethod<&BpfObject::MapEntries>("mapEntries"),
				   InstanceMethod<&BpfObject::MapInfo>("mapInfo"),
				   InstanceMethod<&BpfObject::MapSetProgram>("mapSetProgram"),
				   InstanceMethod<&BpfObject::MapSetCode>("mapSetCode"),
				   InstanceMethod<&BpfObject::SetGlobal>("setGlobal"),
				   InstanceMethod<&BpfObject::GetGlobal>("getGlobal"),
				   InstanceMethod<&BpfObject::AttachTc>("attachTc"),
				   InstanceMethod<&BpfObject::AttachTracing>("attachTracing"),
				   InstanceMethod<&BpfObject::AttachKprobe>("attachKprobe"),
				   InstanceMethod<&BpfObject::Detach>("detach"),
				   InstanceMethod<&BpfObject::IsAttached>("isAttached"),
				   InstanceMethod<&BpfObject::TestRun>("testRun"),
				   InstanceMethod<&BpfObject::ProgramInfo>("programInfo"),
				   InstanceMethod<&BpfObject::Programs>("programs"),
				   InstanceMethod<&BpfObject::Close>("close"),
			   });
}

BpfObject::BpfObject(const Napi::CallbackInfo &info) : ObjectWrap(info)
{
	OpenOptions options;
	const BpfObject *shared = nullptr;
	if (info[2].IsObject()) {
		shared = Unwrap(info[2].As<Napi::Object>());
		if (shared == nullptr || shared->object_ == nullptr) {
			ThrowCode(Env(), "KTRACE_E_CLOSED", "share maps",
				  "The BPF object whose maps are to be shared is closed");
			return;
		}
	}
	if (ReadOpenOptions(info[1].As<Napi::Object>(), &options))
		Open(info[0].As<Napi::String>(), options, shared);
	if (info.Env().IsExceptionPending())
		Release();
}

BpfObject::~BpfObject()
{
	Release();
}

Napi::Value BpfObject::AttachTc(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const std::string name = info[0].As<Napi::String>();
	const int ifindex = info[1].As<Napi::Number>().Int32Value();
	const bool ingress = info[2].As<Napi::String>().Utf8Value() == "in";
	const bool tcx = info[3].As<Napi::String>().Utf8Value() == "tcx";
	bpf_program *program = FindProgram(name);
	if (program == nullptr)
		return {};
	Attachment attachment{ tcx ? Attachment::Kind::kTcx : Attachment::Kind::kClsact };
	int err = 0;
	if (tcx) {
		attachment.fd = AttachTcx(bpf_program__fd(program), ifindex, ingress);
		err = attachment.fd < 0 ? attachment.fd : 0;
	} else {
		err = AttachClsact(bpf_program__fd(program), ifindex, ingress, &attachment.filter);
	}
	if (err != 0) {
		ThrowErrno(Env(), err,
			   "attach " + name + " to interface " + std::to_string(ifindex) + " " +
				   (ingress ? "ingress" : "egress") + " by " + (tcx ? "tcx" : "clsact"));
		return {};
	}
	attached_[next_handle_] = attachment;
	return Napi::Number::New(Env(), next_handle_++);
}

Napi::Value BpfObject::AttachTracing(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const std::string name = info[0].As<Napi::String>();
	bpf_program *program = FindProgram(name);
	if (program == nullptr)
		return {};
	LibbpfLog log;
	Attachment attachment{ Attachment::Kind::kTracing };
	attachment.link = bpf_program__attach(program);
	if (attachment.link == nullptr) {
		ThrowErrno(Env(), errno, "attach " + name, log.LastLines());
		return {};
	}
	attached_[next_handle_] = attachment;
	return Napi::Number::New(Env(), next_handle_++);
}

Napi::Value BpfObject::AttachKprobe(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const std::string name = info[0].As<Napi::String>();
	const std::string function = info[1].As<Napi::String>();
	bpf_program *program = FindProgram(name);
	if (program == nullptr)
		return {};
	LibbpfLog log;
	Attachment attachment{ Attachment::Kind::kTracing };
	attachment.link = bpf_program__attach_kprobe(program, false, function.c_str());
	if (attachment.link == nullptr) {
		ThrowErrno(Env(), errno, "attach " + name + " to " + function, log.LastLines());
		return {};
	}
	attached_[next_handle_] = attachment;
	return Napi::Number::New(Env(), next_handle_++);
}

Napi::Value BpfObject::Detach(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const uint32_t handle = info[0].As<Napi::Number>().Uint32Value();
	const auto found = attached_.find(handle);
	if (found == attached_.end()) {
		ThrowErrno(Env(), ENOENT, "detach handle " + std::to_string(handle));
		return {};
	}
	const int err = Undo(&found->second);
	attached_.erase(found);
	if (err != 0)
		ThrowErrno(Env(), err, "detach handle " + std::to_string(handle));
	return {};
}

Napi::Value BpfObject::IsAttached(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const uint32_t handle = info[0].As<Napi::Number>().Uint32Value();
	const auto found = attached_.find(handle);
	if (found == attached_.end()) {
		ThrowErrno(Env(), ENOENT, "ask about handle " + std::to_string(handle));
		return {};
	}
	// Nobody can take away what a link holds.
	int is_attached = 1;
	if (found->second.kind == Attachment::Kind::kClsact)
		is_attached = IsAttachedClsact(found->second.filter);
	if (is_attached < 0) {
		ThrowErrno(Env(), is_attached, "ask about handle " + std::to_string(handle));
		return {};
	}
	return Napi::Boolean::New(Env(), is_attached == 1);
}

namespace
{

struct Run {
	int fd;
	bpf_test_run_opts *options;
	int err;
};

void *RunInThread(void *argument)
{
	Run *run = static_cast<Run *>(argument);
	run->err = bpf_prog_test_run_opts(run->fd, run->options);
	return nullptr;
}

/*
 * The kernel ends a run of several repetitions with EINTR when a signal is pending for its thread (bpf_test_timer_continue, 6.18), and does not say how
 * many it did. A blocked signal is not pending, and comes later. What io_uring has to do is (TWA_SIGNAL), and cannot be blocked; it comes to the thread
 * that owns the ring, as those of libuv's loops do, so this is another.
 */
int RunUninterrupted(int fd, bpf_test_run_opts *options)
{
	Run run = { fd, options, 0 };
	pthread_t thread;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	const int refusal = pthread_create(&thread, nullptr, RunInThread, &run);
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	if (refusal != 0)
		return -refusal;
	pthread_join(thread, nullptr);
	return run.err;
}

} // namespace

Napi::Value BpfObject::TestRun(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const std::string name = info[0].As<Napi::String>();
	const Napi::Uint8Array data = info[1].As<Napi::Uint8Array>();
	bpf_program *program = FindProgram(name);
	if (program == nullptr)
		return {};
	// The kernel refuses a context with anything else set than what it lets a test choose.
	__sk_buff context = {};
	context.ifindex = info[2].As<Napi::Number>().Uint32Value();
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, options);
	options.data_in = data.Data();
	options.data_size_in = static_cast<uint32_t>(data.ByteLength());
	options.repeat = info[3].As<Napi::Number>().Int32Value();
	if (bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS && context.ifindex != 0) {
		options.ctx_in = &context;
		options.ctx_size_in = sizeof context;
	}
	const int fd = bpf_program__fd(program);
	const int err = options.repeat > 1 ? RunUninterrupted(fd, &options) : bpf_prog_test_run_opts(fd, &options);
	if (err != 0) {
		ThrowErrno(Env(), err, "test run of " + name);
		return {};
	}
	Napi::Object result = Napi::Object::New(Env());
	result.Set("returnValue", Napi::Number::New(Env(), options.retval));
	result.Set("durationNs", Napi::Number::New(Env(), options.duration));
	return result;
}

Napi::Value BpfObject::ProgramInfo(const Napi::CallbackInfo &info)
{
	if (!Opened())
		return {};
	const std::string name = info[0].As<Napi::String>();
	bpf_program *program = FindProgram(name);
	if (program == nullptr)
		return {};
	bpf_prog_info told = {};
	uint32_t length = sizeof told;
	const int err = bpf_obj_get_info_by_fd(bpf_program__fd(program), &told, &length);
	if (err != 0) {
		ThrowErrno(Env(), err, "ask about program " + name);
		return {};
	}
	Napi::Object result = Napi::Object::New(Env());
	result.Set("id", Napi::Number::New(Env(), told.id));
	result.Set("runCount", Napi::BigInt::New(Env(), static_cast<uint64_t>(told.run_cnt)));
	result.Set("runNs", Napi::BigInt::New(Env(), static_cast<uint64_t>(told.run_time_ns)));
	result.Set("recursionMisses", Napi::BigInt::New(Env(), static_cast<uint64_t>(told.recursion_misses)));
	result.Set("instructions", Napi::Number::New(Env(), told.xlated_prog_len / sizeof(bpf_insn)));
	return result;
}

Napi::Value BpfObject::Programs(const Napi::CallbackInfo &)
{
	if (!Opened())
		return {};
	Napi::Array names = Napi::Array::New(Env());
	bpf_program *program;
	uint32_t count = 0;
	bpf_object__for_each_program(program, object_)
	{
		if (bpf_program__fd(program) >= 0)
			names.Set(count++, Napi::String::New(Env(), bpf_program__name(program)));
	}
	return names;
}

Napi::Value BpfObject::Close(const Napi::CallbackInfo &)
{
	Release();
	return {};
}

bool BpfObject::Opened()
{
	if (object_ != nullptr)
		return true;
	ThrowCode(Env(), "KTRACE_E_CLOSED", "use a BPF object", "This BPF object is closed");
	return false;
}

bpf_program *BpfObject::FindProgram(const std::string &name)
{
	bpf_program *program = bpf_object__find_program_by_name(object_, name.c_str());
	if (program != nullptr && bpf_program__fd(program) >= 0)
		return program;
	ThrowErrno(Env(), ENOENT, "find program " + name);
	return nullptr;
}

void BpfObject::Release()
{
	for (auto &[handle, attachment] : attached_)
		Undo(&attachment);
	attached_.clear();
	for (auto &[name, mapped] : sections_)
		munmap(mapped.memory, mapped.bytes);
	sections_.clear();
	bpf_object__close(object_);
	object_ = nullptr;
}

int Undo(Attachment *attachment)
{
	switch (attachment->kind) {
	case Attachment::Kind::kTcx:
		return close(attachment->fd) == 0 ? 0 : -errno;
	case Attachment::Kind::kClsact:
		return DetachClsact(attachment->filter);
	case Attachment::Kind::kTracing:
		return bpf_link__destroy(attachment->link);
	}
	return -EINVAL;
}

} // namespace ktrace

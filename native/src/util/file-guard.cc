#include "util/file-guard.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "util/errors.h"

namespace ktrace
{
namespace
{

constexpr char kName[] = "ktrace-guard";

// System calls only: it also runs in the child, whose other threads are missing with whatever locks they held. The text comes first: in a
// file of sysfs a write is a whole value, and where the agent was a container's first process the child is killed right after it.
bool Write(int file, const char *text)
{
	const size_t length = strlen(text);
	return pwrite(file, text, length, 0) == static_cast<ssize_t>(length) &&
	       ftruncate(file, static_cast<off_t>(length)) == 0;
}

void PutBack(int file, const FileGuard::Texts &texts)
{
	char held[FileGuard::kMostBytes] = {};
	const ssize_t length = pread(file, held, sizeof held - 1, 0);
	const size_t mark = strlen(texts.mark);
	if (length > 0 && strncmp(held, texts.mark, mark) == 0 && (held[mark] == '\0' || held[mark] == '\n'))
		Write(file, texts.value);
}

[[noreturn]] void RunChild(int socket, int file, const FileGuard::Texts &texts)
{
	prctl(PR_SET_NAME, kName);
	// A descriptor of the agent's that stayed open here would keep its programs attached, or this one from seeing its end.
	if (dup2(socket, 0) != 0 || dup2(file, 1) != 1 || syscall(SYS_close_range, 2u, ~0u, 0u) != 0)
		_exit(1);
	char byte = 0;
	if (write(0, &byte, 1) != 1)
		_exit(1);
	while (read(0, &byte, 1) < 0 && errno == EINTR) {
	}
	PutBack(1, texts);
	_exit(0);
}

} // namespace

Napi::Function FileGuard::Define(Napi::Env env)
{
	return DefineClass(env, "FileGuard",
			   {
				   InstanceMethod<&FileGuard::Close>("close"),
				   InstanceMethod<&FileGuard::Pid>("pid"),
			   });
}

FileGuard::FileGuard(const Napi::CallbackInfo &info) : ObjectWrap(info)
{
	const std::string path = info[0].As<Napi::String>();
	const std::string mark = info[1].As<Napi::String>();
	const std::string value = info[2].As<Napi::String>();
	if (mark.size() >= kMostBytes || value.size() >= kMostBytes) {
		ThrowErrno(Env(), EINVAL, "guard " + path);
		return;
	}
	memcpy(texts_.mark, mark.c_str(), mark.size() + 1);
	memcpy(texts_.value, value.c_str(), value.size() + 1);
	file_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
	int err = file_ < 0 ? -errno : StartChild();
	if (err == 0 && !Write(file_, texts_.mark))
		err = -errno;
	if (err == 0)
		return;
	Release();
	ThrowErrno(Env(), err, "guard " + path);
}

FileGuard::~FileGuard()
{
	Release();
}

int FileGuard::StartChild()
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return -errno;
	socket_ = ends[0];
	// The child inherits Node's signal handlers, which would write to a pipe of this process: no signal but SIGKILL may reach it.
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	child_ = fork();
	if (child_ == 0)
		RunChild(ends[1], file_, texts_);
	const int err = child_ < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	close(ends[1]);
	if (err != 0)
		return err;
	// It holds nothing of this process any more once it says so: what is closed here from now on is closed.
	char byte;
	ssize_t length;
	do
		length = read(socket_, &byte, 1);
	while (length < 0 && errno == EINTR);
	return length == 1 ? 0 : -ECHILD;
}

void FileGuard::Release()
{
	if (file_ < 0)
		return;
	PutBack(file_, texts_);
	close(file_);
	file_ = -1;
	if (child_ > 0) {
		kill(child_, SIGKILL);
		while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
		}
		child_ = -1;
	}
	if (socket_ >= 0)
		close(socket_);
	socket_ = -1;
}

Napi::Value FileGuard::Close(const Napi::CallbackInfo &)
{
	Release();
	return {};
}

Napi::Value FileGuard::Pid(const Napi::CallbackInfo &)
{
	return Napi::Number::New(Env(), child_);
}

} // namespace ktrace

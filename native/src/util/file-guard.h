// A value in a file that must not stay there when this process ends, however it ends.
#pragma once

#include <napi.h>
#include <sys/types.h>

#include <cstddef>

namespace ktrace
{

// From its construction until its close the file holds the mark. Then the value is put there: by this process, or, when it was killed, by a
// child that waits for that and for nothing else. What somebody else wrote meanwhile stays.
class FileGuard : public Napi::ObjectWrap<FileGuard>
{
public:
	static Napi::Function Define(Napi::Env env);
	// (path, mark, value)
	explicit FileGuard(const Napi::CallbackInfo &info);
	~FileGuard() override;

	static constexpr size_t kMostBytes = 32;
	struct Texts {
		char mark[kMostBytes];
		char value[kMostBytes];
	};

private:
	Napi::Value Close(const Napi::CallbackInfo &info);
	Napi::Value Pid(const Napi::CallbackInfo &info);
	// 0 or -errno.
	int StartChild();
	void Release();

	Texts texts_ = {};
	int file_ = -1;
	// The child sees its other end close.
	int socket_ = -1;
	pid_t child_ = -1;
};

} // namespace ktrace

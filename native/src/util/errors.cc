#include "util/errors.h"

#include <bpf/libbpf.h>

#include <cstdlib>
#include <cstring>

namespace ktrace
{
namespace
{

// The kernel's own, which BPF gives often and the C library has no name for.
constexpr int kNotSupported = 524;

void Throw(Napi::Env env, const std::string &code, const std::string &op, const std::string &message,
	   const std::string &log)
{
	Napi::Error error = Napi::Error::New(env, message);
	error.Set("code", Napi::String::New(env, code));
	error.Set("op", Napi::String::New(env, op));
	if (!log.empty())
		error.Set("log", Napi::String::New(env, log));
	error.ThrowAsJavaScriptException();
}

std::string CodeOf(int number)
{
	if (number == kNotSupported)
		return "ENOTSUPP";
	if (number == LIBBPF_ERRNO__FORMAT)
		return "ENOEXEC";
	if (number >= __LIBBPF_ERRNO__START)
		return "EPROTO";
	const char *name = strerrorname_np(number);
	return name != nullptr ? name : "E" + std::to_string(number);
}

} // namespace

void ThrowErrno(Napi::Env env, int err, const std::string &op, const std::string &log)
{
	const int number = std::abs(err);
	const std::string code = CodeOf(number);
	char text[128] = "";
	libbpf_strerror(number, text, sizeof text);
	Throw(env, code, op, op + ": " + (number == kNotSupported ? "Operation not supported by this kernel" : text),
	      log);
}

void ThrowCode(Napi::Env env, const std::string &code, const std::string &op, const std::string &message)
{
	Throw(env, code, op, message, {});
}

} // namespace ktrace

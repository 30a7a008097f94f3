// Failures as JavaScript errors: `code` (errno name), `op` (what was tried), `log` (the last lines of the kernel or libbpf).
#pragma once

#include <napi.h>

#include <string>

namespace ktrace
{

// Throws Error("OP: TEXT") with code and op, and log when there is one. `err` is an errno, of either sign.
void ThrowErrno(Napi::Env env, int err, const std::string &op, const std::string &log = {});

// The same for what is no errno: a code of our own and a message.
void ThrowCode(Napi::Env env, const std::string &code, const std::string &op, const std::string &message);

} // namespace ktrace

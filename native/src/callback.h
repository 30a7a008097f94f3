// A JavaScript function that is called from the loop.
#pragma once

#include <napi.h>

#include <memory>

namespace ktrace
{

class Callback
{
public:
	Callback(const Napi::Function &function, const char *name)
		: function_(Napi::Persistent(function)),
		  context_(std::make_unique<Napi::AsyncContext>(function.Env(), name))
	{
	}

	// What it throws becomes an uncaught exception, as with every callback of Node's own; the caller goes on.
	void Call(Napi::Value argument)
	{
		if (function_.IsEmpty())
			return;
		Napi::Env env = argument.Env();
		napi_value value = argument;
		napi_value result;
		const napi_status status =
			napi_make_callback(env, *context_, env.Global(), function_.Value(), 1, &value, &result);
		if (status != napi_pending_exception)
			return;
		napi_value exception;
		if (napi_get_and_clear_last_exception(env, &exception) == napi_ok)
			napi_fatal_exception(env, exception);
	}

private:
	Napi::FunctionReference function_;
	std::unique_ptr<Napi::AsyncContext> context_;
};

} // namespace ktrace

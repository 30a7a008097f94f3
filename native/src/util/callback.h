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
	// A value that could not be created, in an environment that is ending, is not passed on.
	void Call(napi_env env, napi_value argument)
	{
		if (argument == nullptr || function_.IsEmpty())
			return;
		napi_value receiver;
		napi_value result;
		// An object is asked for: undefined would leave an exception behind that surfaces anywhere.
		napi_get_global(env, &receiver);
		const napi_status status =
			napi_make_callback(env, *context_, receiver, function_.Value(), 1, &argument, &result);
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

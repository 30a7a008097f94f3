// Questions about the running kernel's types.
#pragma once

#include <napi.h>

namespace ktrace
{

// { available, enumValues, hasStruct, hasMember, tracepointArguments }
Napi::Object DefineBtf(Napi::Env env);

} // namespace ktrace

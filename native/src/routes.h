// Addresses and default routes.
#pragma once

#include <napi.h>

namespace ktrace
{

// (netnsId | -1) → Address[]
Napi::Value Addresses(const Napi::CallbackInfo &info);

// () → number[]
Napi::Value DefaultRouteInterfaces(const Napi::CallbackInfo &info);

} // namespace ktrace

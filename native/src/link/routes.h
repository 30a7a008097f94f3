// Addresses and default routes.
#pragma once

#include <linux/rtnetlink.h>
#include <napi.h>

namespace ktrace
{

// To everywhere, in the main table, by an interface.
bool IsDefaultRoute(const rtmsg *route);

// (netnsId | -1) → Address[]
Napi::Value Addresses(const Napi::CallbackInfo &info);

// () → number[]
Napi::Value DefaultRouteInterfaces(const Napi::CallbackInfo &info);

} // namespace ktrace

// Link messages as JavaScript objects, of the shape src/native/types.ts gives.
#pragma once

#include <linux/rtnetlink.h>
#include <napi.h>

namespace ktrace
{

// RTM_NEWLINK → Link.
Napi::Object LinkOf(Napi::Env env, const nlmsghdr *header);

// RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, and RTM_NEWROUTE and RTM_DELROUTE of default routes → LinkChange; an empty value for what says
// nothing about a link as such, and for other routes: there may be very many.
Napi::Value LinkChangeOf(Napi::Env env, const nlmsghdr *header);

} // namespace ktrace

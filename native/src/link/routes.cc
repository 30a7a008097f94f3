#include "link/routes.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>

#include <algorithm>
#include <cstring>

#include "util/errors.h"
#include "link/netlink.h"

namespace ktrace
{
namespace
{

// From linux/if_addr.h of 4.20.
constexpr uint16_t kTargetNetnsId = 10;

std::string AddressText(int family, const rtattr *address)
{
	char text[INET6_ADDRSTRLEN] = "";
	const size_t size = family == AF_INET ? 4 : 16;
	if (RTA_PAYLOAD(address) < size || inet_ntop(family, RTA_DATA(address), text, sizeof text) == nullptr)
		return {};
	return text;
}

void AddInterfaces(const Attributes &attributes, std::vector<uint32_t> *interfaces)
{
	const auto add = [interfaces](uint32_t ifindex) {
		if (ifindex != 0 && std::find(interfaces->begin(), interfaces->end(), ifindex) == interfaces->end())
			interfaces->push_back(ifindex);
	};
	add(attributes.U32(RTA_OIF));
	const rtattr *paths = attributes.Get(RTA_MULTIPATH);
	if (paths == nullptr)
		return;
	size_t left = RTA_PAYLOAD(paths);
	const char *at = static_cast<const char *>(RTA_DATA(paths));
	while (left >= sizeof(rtnexthop)) {
		const auto *path = reinterpret_cast<const rtnexthop *>(at);
		const size_t step = RTNH_ALIGN(path->rtnh_len);
		if (path->rtnh_len < sizeof *path || step > left)
			return;
		add(static_cast<uint32_t>(path->rtnh_ifindex));
		at += step;
		left -= step;
	}
}

} // namespace

bool IsDefaultRoute(const rtmsg *route)
{
	return route->rtm_dst_len == 0 && route->rtm_table == RT_TABLE_MAIN && route->rtm_type == RTN_UNICAST;
}

Napi::Value Addresses(const Napi::CallbackInfo &info)
{
	const int32_t netns_id = info[0].As<Napi::Number>().Int32Value();
	const std::string op =
		netns_id < 0 ? "list addresses" : "list addresses of network namespace id " + std::to_string(netns_id);
	ifaddrmsg request = {};
	Message message(RTM_GETADDR, &request, sizeof request);
	if (netns_id >= 0)
		message.Add(kTargetNetnsId, &netns_id, sizeof netns_id);
	Netlink netlink;
	std::vector<std::vector<char>> answers;
	int err = netlink.Open(0);
	if (err == 0)
		err = netlink.Dump(message, &answers);
	if (err != 0) {
		ThrowErrno(info.Env(), err, op);
		return {};
	}
	Napi::Array addresses = Napi::Array::New(info.Env());
	uint32_t count = 0;
	for (const auto &answer : answers) {
		const auto *header = reinterpret_cast<const nlmsghdr *>(answer.data());
		const auto *found = static_cast<const ifaddrmsg *>(NLMSG_DATA(header));
		if (found->ifa_family != AF_INET && found->ifa_family != AF_INET6)
			continue;
		const Attributes attributes(header, sizeof *found);
		// On a point-to-point link IFA_ADDRESS is the other end.
		const rtattr *own =
			attributes.Get(IFA_LOCAL) != nullptr ? attributes.Get(IFA_LOCAL) : attributes.Get(IFA_ADDRESS);
		const std::string text = own == nullptr ? "" : AddressText(found->ifa_family, own);
		if (text.empty())
			continue;
		Napi::Object address = Napi::Object::New(info.Env());
		address.Set("ifindex", Napi::Number::New(info.Env(), found->ifa_index));
		address.Set("ip", Napi::String::New(info.Env(), text));
		address.Set("prefixLength", Napi::Number::New(info.Env(), found->ifa_prefixlen));
		addresses.Set(count++, address);
	}
	return addresses;
}

Napi::Value DefaultRouteInterfaces(const Napi::CallbackInfo &info)
{
	std::vector<uint32_t> interfaces;
	Netlink netlink;
	int err = netlink.Open(0);
	for (const uint8_t family : { AF_INET, AF_INET6 }) {
		rtmsg request = {};
		request.rtm_family = family;
		std::vector<std::vector<char>> answers;
		if (err == 0)
			err = netlink.Dump(Message(RTM_GETROUTE, &request, sizeof request), &answers);
		for (const auto &answer : answers) {
			const auto *header = reinterpret_cast<const nlmsghdr *>(answer.data());
			const auto *route = static_cast<const rtmsg *>(NLMSG_DATA(header));
			if (!IsDefaultRoute(route))
				continue;
			AddInterfaces(Attributes(header, sizeof *route), &interfaces);
		}
	}
	if (err != 0) {
		ThrowErrno(info.Env(), err, "list routes");
		return {};
	}
	Napi::Array result = Napi::Array::New(info.Env(), interfaces.size());
	for (uint32_t i = 0; i < interfaces.size(); i++)
		result.Set(i, Napi::Number::New(info.Env(), interfaces[i]));
	return result;
}

} // namespace ktrace

#include "link/link-message.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <net/if.h>

#include "link/netlink.h"
#include "link/routes.h"

namespace ktrace
{
namespace
{

Napi::Object Change(Napi::Env env, const char *kind, int ifindex)
{
	Napi::Object change = Napi::Object::New(env);
	change.Set("kind", Napi::String::New(env, kind));
	change.Set("ifindex", Napi::Number::New(env, ifindex));
	return change;
}

} // namespace

Napi::Object LinkOf(Napi::Env env, const nlmsghdr *header)
{
	const auto *message = static_cast<const ifinfomsg *>(NLMSG_DATA(header));
	const Attributes attributes(header, sizeof *message);
	std::string kind;
	uint16_t vxlan_port = 0, geneve_port = 0;
	const rtattr *info = attributes.Get(IFLA_LINKINFO);
	if (info != nullptr) {
		const Attributes details(info);
		kind = details.Text(IFLA_INFO_KIND);
		const rtattr *data = details.Get(IFLA_INFO_DATA);
		if (kind == "vxlan" && data != nullptr)
			vxlan_port = ntohs(Attributes(data).U16(IFLA_VXLAN_PORT));
		if (kind == "geneve" && data != nullptr)
			geneve_port = ntohs(Attributes(data).U16(IFLA_GENEVE_PORT));
	}
	const bool elsewhere = attributes.Get(IFLA_LINK_NETNSID) != nullptr;
	Napi::Object link = Napi::Object::New(env);
	link.Set("ifindex", Napi::Number::New(env, message->ifi_index));
	link.Set("name", Napi::String::New(env, attributes.Text(IFLA_IFNAME)));
	link.Set("kind", Napi::String::New(env, kind));
	link.Set("up", Napi::Boolean::New(env, (message->ifi_flags & IFF_UP) != 0));
	link.Set("mtu", Napi::Number::New(env, attributes.U32(IFLA_MTU)));
	link.Set("link", Napi::Number::New(env, attributes.U32(IFLA_LINK)));
	link.Set("linkNetnsId",
		 Napi::Number::New(env, elsewhere ? static_cast<int32_t>(attributes.U32(IFLA_LINK_NETNSID)) : -1));
	link.Set("master", Napi::Number::New(env, attributes.U32(IFLA_MASTER)));
	link.Set("vxlanPort", Napi::Number::New(env, vxlan_port));
	link.Set("genevePort", Napi::Number::New(env, geneve_port));
	link.Set("arpType", Napi::Number::New(env, message->ifi_type));
	return link;
}

Napi::Value LinkChangeOf(Napi::Env env, const nlmsghdr *header)
{
	if (header->nlmsg_type == RTM_NEWADDR || header->nlmsg_type == RTM_DELADDR) {
		const auto *message = static_cast<const ifaddrmsg *>(NLMSG_DATA(header));
		return Change(env, "address", static_cast<int>(message->ifa_index));
	}
	if (header->nlmsg_type == RTM_NEWROUTE || header->nlmsg_type == RTM_DELROUTE) {
		if (!IsDefaultRoute(static_cast<const rtmsg *>(NLMSG_DATA(header))))
			return {};
		Napi::Object change = Napi::Object::New(env);
		change.Set("kind", Napi::String::New(env, "route"));
		return change;
	}
	const auto *message = static_cast<const ifinfomsg *>(NLMSG_DATA(header));
	// The bridge reports its ports in messages of its own family: an AF_BRIDGE RTM_DELLINK is a port that left, not a removed link.
	if (message->ifi_family != AF_UNSPEC)
		return {};
	if (header->nlmsg_type == RTM_DELLINK) {
		Napi::Object change = Change(env, "gone", message->ifi_index);
		change.Set("name", Napi::String::New(env, Attributes(header, sizeof *message).Text(IFLA_IFNAME)));
		return change;
	}
	if (header->nlmsg_type != RTM_NEWLINK)
		return {};
	Napi::Object change = Napi::Object::New(env);
	change.Set("kind", Napi::String::New(env, "new"));
	change.Set("link", LinkOf(env, header));
	return change;
}

} // namespace ktrace

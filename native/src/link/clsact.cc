#include "link/clsact.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <set>
#include <vector>

#include "util/libbpf-log.h"
#include "link/netlink.h"

namespace ktrace
{
namespace
{

constexpr uint32_t kIngress = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
// Ours: Cilium and others take 1, which is also what the kernel gives to who comes first and names none, and whoever replaces 1 replaces
// what is there.
constexpr uint32_t kFirstHandle = 0x6b74;
constexpr uint32_t kHandles = 16;

constexpr uint32_t kEgress = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS);

// Of the whole process, since interfaces are: two objects, or two worker threads, may share a qdisc that one of them created. Filters
// outlive a process, so what was not detached is removed when the process exits in any orderly way.
struct Shared {
	std::mutex mutex;
	std::set<int> created_qdiscs;
	std::vector<ClsactFilter> filters;
	bool at_exit = false;
};

Shared &GetShared()
{
	// Never destroyed: the exit handler may run after destructors have.
	static Shared *shared = new Shared;
	return *shared;
}

bpf_tc_hook HookOf(int ifindex, bool ingress)
{
	bpf_tc_hook hook = {};
	hook.sz = sizeof hook;
	hook.ifindex = ifindex;
	hook.attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
	return hook;
}

std::vector<std::vector<char>> DumpFilters(Netlink *netlink, int ifindex, uint32_t parent, int *err)
{
	tcmsg request = {};
	request.tcm_ifindex = ifindex;
	request.tcm_parent = parent;
	std::vector<std::vector<char>> answers;
	*err = netlink->Dump(Message(RTM_GETTFILTER, &request, sizeof request), &answers);
	return answers;
}

bool HasFilters(Netlink *netlink, int ifindex)
{
	for (const uint32_t parent : { kIngress, kEgress }) {
		int err = 0;
		const auto filters = DumpFilters(netlink, ifindex, parent, &err);
		if (err != 0 || !filters.empty())
			return true;
	}
	return false;
}

void RemoveQdisc(int ifindex)
{
	bpf_tc_hook hook = HookOf(ifindex, true);
	hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
	bpf_tc_hook_destroy(&hook);
}

// With the lock held.
int Remove(Shared *shared, const ClsactFilter &filter)
{
	bpf_tc_hook hook = HookOf(filter.ifindex, filter.ingress);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, options);
	options.handle = filter.handle;
	options.priority = filter.priority;
	int err = bpf_tc_query(&hook, &options);
	if (err == 0 && options.prog_id == filter.program_id) {
		options.prog_id = 0;
		options.prog_fd = 0;
		options.flags = 0;
		err = bpf_tc_detach(&hook, &options);
	}
	if (shared->created_qdiscs.count(filter.ifindex) != 0) {
		Netlink netlink;
		if (netlink.Open(0) == 0 && !HasFilters(&netlink, filter.ifindex)) {
			RemoveQdisc(filter.ifindex);
			shared->created_qdiscs.erase(filter.ifindex);
		}
	}
	return err == -ENODEV || err == -ENOENT || err == -EINVAL ? 0 : err;
}

void RemoveAllAtExit()
{
	Shared &shared = GetShared();
	const std::lock_guard<std::mutex> lock(shared.mutex);
	LibbpfLog quiet;
	for (const ClsactFilter &filter : shared.filters)
		Remove(&shared, filter);
	shared.filters.clear();
}

bool StartsWith(const rtattr *name, const std::string &prefix)
{
	const std::string text(static_cast<const char *>(RTA_DATA(name)), RTA_PAYLOAD(name));
	return text.compare(0, prefix.size(), prefix) == 0;
}

int RemoveStaleAt(Netlink *netlink, int ifindex, uint32_t parent, const std::string &prefix)
{
	int err = 0;
	int removed = 0;
	for (const auto &answer : DumpFilters(netlink, ifindex, parent, &err)) {
		const auto *header = reinterpret_cast<const nlmsghdr *>(answer.data());
		const auto *filter = static_cast<const tcmsg *>(NLMSG_DATA(header));
		const Attributes attributes(header, sizeof *filter);
		if (attributes.Text(TCA_KIND) != "bpf" || filter->tcm_handle == 0)
			continue;
		const rtattr *options = attributes.Get(TCA_OPTIONS);
		const rtattr *name = options == nullptr ? nullptr : Attributes(options).Get(TCA_BPF_NAME);
		if (name == nullptr || !StartsWith(name, prefix))
			continue;
		tcmsg request = *filter;
		Message message(RTM_DELTFILTER, &request, sizeof request);
		message.Add(TCA_KIND, "bpf", 4);
		err = netlink->Request(message);
		if (err != 0 && err != -ENOENT)
			return err;
		removed++;
	}
	// The interface may go while we look.
	return err == 0 || err == -ENODEV || err == -ENOENT || err == -EINVAL ? removed : err;
}

} // namespace

int AttachClsact(int program_fd, int ifindex, bool ingress, ClsactFilter *filter)
{
	Shared &shared = GetShared();
	const std::lock_guard<std::mutex> lock(shared.mutex);
	LibbpfLog quiet;
	if (!shared.at_exit) {
		shared.at_exit = true;
		atexit(RemoveAllAtExit);
	}
	bpf_prog_info info = {};
	uint32_t length = sizeof info;
	int err = bpf_obj_get_info_by_fd(program_fd, &info, &length);
	if (err != 0)
		return err;
	bpf_tc_hook hook = HookOf(ifindex, ingress);
	err = bpf_tc_hook_create(&hook);
	if (err == 0)
		shared.created_qdiscs.insert(ifindex);
	if (err != 0 && err != -EEXIST)
		return err;
	ClsactFilter made = { ifindex, ingress, kFirstHandle, 1, info.id };
	do {
		DECLARE_LIBBPF_OPTS(bpf_tc_opts, options);
		options.prog_fd = program_fd;
		options.priority = made.priority;
		options.handle = made.handle;
		err = bpf_tc_attach(&hook, &options);
	} while (err == -EEXIST && ++made.handle < kFirstHandle + kHandles);
	if (err != 0) {
		Remove(&shared, { ifindex, ingress, kFirstHandle, made.priority, 0 });
		return err;
	}
	*filter = made;
	shared.filters.push_back(*filter);
	return 0;
}

int IsAttachedClsact(const ClsactFilter &filter)
{
	LibbpfLog quiet;
	bpf_tc_hook hook = HookOf(filter.ifindex, filter.ingress);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, options);
	options.handle = filter.handle;
	options.priority = filter.priority;
	const int err = bpf_tc_query(&hook, &options);
	if (err == 0)
		return options.prog_id == filter.program_id ? 1 : 0;
	return err == -ENODEV || err == -ENOENT || err == -EINVAL ? 0 : err;
}

int DetachClsact(const ClsactFilter &filter)
{
	Shared &shared = GetShared();
	const std::lock_guard<std::mutex> lock(shared.mutex);
	LibbpfLog quiet;
	const auto same = [&filter](const ClsactFilter &other) {
		return other.ifindex == filter.ifindex && other.ingress == filter.ingress &&
		       other.handle == filter.handle && other.program_id == filter.program_id;
	};
	shared.filters.erase(std::remove_if(shared.filters.begin(), shared.filters.end(), same), shared.filters.end());
	return Remove(&shared, filter);
}

int RemoveStaleFilters(const std::string &prefix)
{
	Shared &shared = GetShared();
	const std::lock_guard<std::mutex> lock(shared.mutex);
	LibbpfLog quiet;
	Netlink netlink;
	int err = netlink.Open(0);
	if (err != 0)
		return err;
	tcmsg request = {};
	std::vector<std::vector<char>> qdiscs;
	err = netlink.Dump(Message(RTM_GETQDISC, &request, sizeof request), &qdiscs);
	if (err != 0)
		return err;
	int removed = 0;
	for (const auto &answer : qdiscs) {
		const auto *header = reinterpret_cast<const nlmsghdr *>(answer.data());
		const auto *qdisc = static_cast<const tcmsg *>(NLMSG_DATA(header));
		if (Attributes(header, sizeof *qdisc).Text(TCA_KIND) != "clsact")
			continue;
		int here = 0;
		for (const uint32_t parent : { kIngress, kEgress }) {
			const int count = RemoveStaleAt(&netlink, qdisc->tcm_ifindex, parent, prefix);
			if (count < 0)
				return count;
			here += count;
		}
		if (here > 0 && !HasFilters(&netlink, qdisc->tcm_ifindex))
			RemoveQdisc(qdisc->tcm_ifindex);
		removed += here;
	}
	return removed;
}

} // namespace ktrace

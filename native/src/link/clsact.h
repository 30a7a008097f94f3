// tc filters on a clsact qdisc, for kernels without tcx. Nothing of others is replaced; what is ours goes again, the qdisc too when it was
// ours and nobody else uses it.
#pragma once

#include <cstdint>
#include <string>

namespace ktrace
{

struct ClsactFilter {
	int ifindex = 0;
	bool ingress = false;
	uint32_t handle = 0;
	uint32_t priority = 0;
	uint32_t program_id = 0;
};

// Attaches at priority 1 with a handle of our own, before what is there (the kernel puts a newer filter of one priority first). 0 or -errno;
// -EINVAL when somebody else's filter of another kind or protocol holds priority 1, -EEXIST when others have all of our handles.
int AttachClsact(int program_fd, int ifindex, bool ingress, ClsactFilter *filter);

// 1 while it is there with its program, 0 when somebody removed or replaced it or its interface is gone; else -errno.
int IsAttachedClsact(const ClsactFilter &filter);

// 0 also when the filter or its interface is gone; a filter that somebody put in its place stays.
int DetachClsact(const ClsactFilter &filter);

// Removes filters whose program name starts with `prefix` on all interfaces, and a clsact qdisc that is empty after that. The number of
// filters removed, or -errno.
int RemoveStaleFilters(const std::string &prefix);

} // namespace ktrace

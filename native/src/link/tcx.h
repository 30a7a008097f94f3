// tcx (Linux 6.6+) by the bare system call: libbpf 1.1 does not know it.
#pragma once

namespace ktrace
{

// Attaches at the very front. Gives the link's descriptor, with which the attachment lives and dies, or -errno.
int AttachTcx(int program_fd, int ifindex, bool ingress);

// 1 when the running kernel has tcx, 0 when not, -errno when that cannot be found out. Attaches nothing.
int TcxSupported();

} // namespace ktrace

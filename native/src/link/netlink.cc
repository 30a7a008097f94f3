#include "link/netlink.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ktrace
{
namespace
{

// The kernel never sends a larger datagram of links unless asked for a larger one.
constexpr size_t kReceiveBytes = 64 * 1024;
constexpr int kSocketBytes = 8 * 1024 * 1024;
constexpr int kDumpTries = 10;
// From linux/netlink.h and linux/socket.h, which not every C library's headers carry.
constexpr int kSolNetlink = 270;
constexpr int kGetStrictCheck = 12;

} // namespace

Message::Message(uint16_t type, const void *payload, size_t size) : bytes_(NLMSG_SPACE(size))
{
	Header()->nlmsg_type = type;
	Header()->nlmsg_len = static_cast<uint32_t>(NLMSG_LENGTH(size));
	memcpy(NLMSG_DATA(Header()), payload, size);
}

void Message::Add(uint16_t attribute, const void *data, size_t size)
{
	const size_t at = bytes_.size();
	bytes_.resize(at + RTA_SPACE(size));
	auto *added = reinterpret_cast<rtattr *>(&bytes_[at]);
	added->rta_type = attribute;
	added->rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
	memcpy(RTA_DATA(added), data, size);
	Header()->nlmsg_len = static_cast<uint32_t>(bytes_.size());
}

Attributes::Attributes(const nlmsghdr *header, size_t fixed)
{
	const size_t before = NLMSG_SPACE(fixed);
	begin_ = reinterpret_cast<const char *>(header) + before;
	length_ = header->nlmsg_len > before ? header->nlmsg_len - before : 0;
}

Attributes::Attributes(const rtattr *nested)
	: begin_(static_cast<const char *>(RTA_DATA(nested))), length_(RTA_PAYLOAD(nested))
{
}

const rtattr *Attributes::Get(uint16_t type) const
{
	size_t left = length_;
	const char *at = begin_;
	while (left >= sizeof(rtattr)) {
		const auto *attribute = reinterpret_cast<const rtattr *>(at);
		if (attribute->rta_len < sizeof(rtattr) || attribute->rta_len > left)
			return nullptr;
		if ((attribute->rta_type & NLA_TYPE_MASK) == type)
			return attribute;
		const size_t step = RTA_ALIGN(attribute->rta_len);
		if (step >= left)
			return nullptr;
		at += step;
		left -= step;
	}
	return nullptr;
}

uint32_t Attributes::U32(uint16_t type) const
{
	const rtattr *attribute = Get(type);
	uint32_t value = 0;
	if (attribute != nullptr && RTA_PAYLOAD(attribute) >= sizeof value)
		memcpy(&value, RTA_DATA(attribute), sizeof value);
	return value;
}

uint16_t Attributes::U16(uint16_t type) const
{
	const rtattr *attribute = Get(type);
	uint16_t value = 0;
	if (attribute != nullptr && RTA_PAYLOAD(attribute) >= sizeof value)
		memcpy(&value, RTA_DATA(attribute), sizeof value);
	return value;
}

std::string Attributes::Text(uint16_t type) const
{
	const rtattr *attribute = Get(type);
	if (attribute == nullptr)
		return {};
	const char *text = static_cast<const char *>(RTA_DATA(attribute));
	return std::string(text, strnlen(text, RTA_PAYLOAD(attribute)));
}

Netlink::~Netlink()
{
	if (fd_ >= 0)
		close(fd_);
}

int Netlink::Open(uint32_t groups)
{
	fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd_ < 0)
		return -errno;
	const int yes = 1;
	// Without it the kernel ignores what a dump asks for (the namespace id of an address dump). Since 4.20; older ones do without.
	setsockopt(fd_, kSolNetlink, kGetStrictCheck, &yes, sizeof yes);
	if (groups != 0 && setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBytes, sizeof kSocketBytes) != 0) {
		setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &kSocketBytes, sizeof kSocketBytes);
	}
	sockaddr_nl address = {};
	address.nl_family = AF_NETLINK;
	address.nl_groups = groups;
	return bind(fd_, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0 ? 0 : -errno;
}

int Netlink::Dump(Message request, std::vector<std::vector<char>> *answers)
{
	std::vector<char> buffer;
	for (int tries = 0; tries < kDumpTries; tries++) {
		answers->clear();
		int err = Send(&request, NLM_F_DUMP);
		if (err != 0)
			return err;
		bool interrupted = false;
		for (bool done = false; !done;) {
			const int got = ReadAnswer(&buffer, true);
			if (got < 0)
				return got;
			size_t left = static_cast<size_t>(got);
			const auto *header = reinterpret_cast<const nlmsghdr *>(buffer.data());
			for (; !done && NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
				if (header->nlmsg_seq != sequence_)
					continue;
				if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
					interrupted = true;
				if (header->nlmsg_type == NLMSG_ERROR)
					return static_cast<const nlmsgerr *>(NLMSG_DATA(header))->error;
				done = header->nlmsg_type == NLMSG_DONE;
				// What went wrong after the dump began is told at its end.
				if (done && NLMSG_PAYLOAD(header, 0) >= sizeof(int))
					memcpy(&err, NLMSG_DATA(header), sizeof err);
				const auto *bytes = reinterpret_cast<const char *>(header);
				if (!done)
					answers->emplace_back(bytes, bytes + header->nlmsg_len);
			}
		}
		if (err < 0 || !interrupted)
			return err;
	}
	return -EAGAIN;
}

int Netlink::Request(Message request)
{
	const int err = Send(&request, NLM_F_ACK);
	if (err != 0)
		return err;
	std::vector<char> buffer;
	while (true) {
		const int got = ReadAnswer(&buffer, true);
		if (got < 0)
			return got;
		size_t left = static_cast<size_t>(got);
		const auto *header = reinterpret_cast<const nlmsghdr *>(buffer.data());
		for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
			if (header->nlmsg_seq == sequence_ && header->nlmsg_type == NLMSG_ERROR) {
				return static_cast<const nlmsgerr *>(NLMSG_DATA(header))->error;
			}
		}
	}
}

int Netlink::Receive(std::vector<std::vector<char>> *messages)
{
	std::vector<char> buffer;
	const int got = ReadAnswer(&buffer, false);
	if (got < 0)
		return got;
	size_t left = static_cast<size_t>(got);
	const auto *header = reinterpret_cast<const nlmsghdr *>(buffer.data());
	for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
		const auto *bytes = reinterpret_cast<const char *>(header);
		messages->emplace_back(bytes, bytes + header->nlmsg_len);
	}
	return 0;
}

int Netlink::Send(Message *request, uint16_t flags)
{
	request->Header()->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
	request->Header()->nlmsg_seq = ++sequence_;
	const auto &bytes = request->Bytes();
	return send(fd_, bytes.data(), request->Header()->nlmsg_len, 0) < 0 ? -errno : 0;
}

int Netlink::ReadAnswer(std::vector<char> *buffer, bool wait)
{
	buffer->resize(kReceiveBytes);
	while (true) {
		sockaddr_nl from = {};
		socklen_t length = sizeof from;
		const ssize_t got = recvfrom(fd_, buffer->data(), buffer->size(), wait ? 0 : MSG_DONTWAIT,
					     reinterpret_cast<sockaddr *>(&from), &length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		// Anyone may send to a netlink socket; only the kernel is port 0.
		if (from.nl_pid == 0)
			return static_cast<int>(got);
	}
}

} // namespace ktrace

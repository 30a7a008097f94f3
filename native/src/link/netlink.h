// A route netlink socket: requests, dumps, and messages taken apart.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ktrace
{

// A request being written.
class Message
{
public:
	Message(uint16_t type, const void *payload, size_t size);
	void Add(uint16_t attribute, const void *data, size_t size);
	nlmsghdr *Header()
	{
		return reinterpret_cast<nlmsghdr *>(bytes_.data());
	}
	const std::vector<char> &Bytes() const
	{
		return bytes_;
	}

private:
	std::vector<char> bytes_;
};

// The attributes behind a message's fixed part, or inside a nested one. Valid as long as what it was made from.
class Attributes
{
public:
	Attributes(const nlmsghdr *header, size_t fixed);
	explicit Attributes(const rtattr *nested);
	// Null when there is none.
	const rtattr *Get(uint16_t type) const;
	// Zero, or empty, when there is none or it is too short.
	uint32_t U32(uint16_t type) const;
	uint16_t U16(uint16_t type) const;
	std::string Text(uint16_t type) const;

private:
	const char *begin_;
	size_t length_;
};

class Netlink
{
public:
	Netlink() = default;
	~Netlink();
	Netlink(const Netlink &) = delete;
	Netlink &operator=(const Netlink &) = delete;

	// `groups` is a mask of RTMGRP_*. All return 0 or -errno.
	int Open(uint32_t groups);
	// Requests everything and gives the answers, each with its header. Requests again when the kernel's tables changed meanwhile.
	int Dump(Message request, std::vector<std::vector<char>> *answers);
	// Asks for one change and waits for its acknowledgement.
	int Request(Message request);
	// What has arrived, without waiting: -EAGAIN when nothing has, -ENOBUFS when the kernel dropped messages.
	int Receive(std::vector<std::vector<char>> *messages);
	int Fd() const
	{
		return fd_;
	}

private:
	int Send(Message *request, uint16_t flags);
	int ReadAnswer(std::vector<char> *buffer, bool wait);

	int fd_ = -1;
	uint32_t sequence_ = 0;
};

} // namespace ktrace

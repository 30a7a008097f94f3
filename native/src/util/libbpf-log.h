// libbpf prints to one function for the whole process; here each thread collects what its own call made libbpf say.
#pragma once

#include <string>

namespace ktrace
{

// Collects while it lives. Nothing libbpf says ever reaches stderr.
class LibbpfLog
{
public:
	LibbpfLog();
	~LibbpfLog();
	LibbpfLog(const LibbpfLog &) = delete;
	LibbpfLog &operator=(const LibbpfLog &) = delete;

	// The verifier's last lines when a program was refused, else libbpf's own last lines.
	std::string LastLines() const;
	// What failed, as far as libbpf reported it: `load program NAME`, `create map NAME`; else empty.
	std::string FailedStep() const;

private:
	std::string text_;
	std::string *outer_;
};

} // namespace ktrace

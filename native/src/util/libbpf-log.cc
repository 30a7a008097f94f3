#include "util/libbpf-log.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>

namespace ktrace
{
namespace
{

constexpr int kLines = 25;
// A verifier log may be 16 MB: the reason is at its end.
constexpr size_t kKeptBytes = 1 << 20;

thread_local std::string *collecting = nullptr;

int Collect(enum libbpf_print_level level, const char *format, va_list args)
{
	if (collecting == nullptr || level == LIBBPF_DEBUG)
		return 0;
	va_list again;
	va_copy(again, args);
	const int length = vsnprintf(nullptr, 0, format, args);
	if (length > 0) {
		const size_t before = collecting->size();
		collecting->resize(before + static_cast<size_t>(length) + 1);
		vsnprintf(&(*collecting)[before], static_cast<size_t>(length) + 1, format, again);
		collecting->pop_back();
		if (collecting->size() > kKeptBytes)
			collecting->erase(0, collecting->size() - kKeptBytes);
	}
	va_end(again);
	return 0;
}

std::string Tail(const std::string &text)
{
	size_t end = text.size();
	while (end > 0 && text[end - 1] == '\n')
		end--;
	size_t begin = end;
	for (int lines = 0; begin > 0; begin--) {
		if (text[begin - 1] == '\n' && ++lines == kLines)
			break;
	}
	return text.substr(begin, end - begin);
}

// The NAME in "…BEFORE'NAME'AFTER…".
std::string Quoted(const std::string &text, const std::string &before, const std::string &after)
{
	for (size_t at = text.find(before); at != std::string::npos; at = text.find(before, at + 1)) {
		const size_t begin = at + before.size();
		const size_t end = text.find('\'', begin);
		if (end != std::string::npos && text.compare(end, after.size(), after) == 0)
			return text.substr(begin, end - begin);
	}
	return {};
}

} // namespace

LibbpfLog::LibbpfLog() : outer_(collecting)
{
	// Setting the same function again and again from several threads is harmless: it is one pointer.
	libbpf_set_print(Collect);
	collecting = &text_;
}

LibbpfLog::~LibbpfLog()
{
	collecting = outer_;
}

std::string LibbpfLog::LastLines() const
{
	const std::string begin = "-- BEGIN PROG LOAD LOG --\n";
	const size_t from = text_.rfind(begin);
	const size_t to = text_.rfind("-- END PROG LOAD LOG --");
	if (to == std::string::npos)
		return Tail(text_);
	const size_t start = from == std::string::npos || from > to ? 0 : from + begin.size();
	// The end marker's own line begins with "libbpf: prog '…': " in some releases.
	size_t end = text_.rfind('\n', to);
	if (end == std::string::npos || end < start)
		end = to;
	return Tail(text_.substr(start, end - start));
}

std::string LibbpfLog::FailedStep() const
{
	std::string name = Quoted(text_, "prog '", "': BPF program load failed");
	if (name.empty())
		name = Quoted(text_, "prog '", "': failed to load");
	if (name.empty())
		name = Quoted(text_, "prog '", "': relo #");
	if (name.empty())
		name = Quoted(text_, "prog '", "': failed to find kernel BTF type ID");
	if (!name.empty())
		return "load program " + name;
	name = Quoted(text_, "map '", "': failed to create");
	if (!name.empty())
		return "create map " + name;
	return {};
}

} // namespace ktrace

#include "btf/kernel-btf.h"

#include <dirent.h>
#include <linux/btf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "util/libbpf-log.h"

namespace ktrace
{
namespace
{

constexpr char kDirectory[] = "/sys/kernel/btf/";

bool ReadFile(const std::string &path, std::string *content)
{
	FILE *file = fopen(path.c_str(), "re");
	if (file == nullptr)
		return false;
	char chunk[65536];
	size_t got;
	while ((got = fread(chunk, 1, sizeof chunk, file)) > 0)
		content->append(chunk, got);
	const bool good = ferror(file) == 0;
	fclose(file);
	return good;
}

bool SplitSections(const std::string &content, btf_header *header, const char **types, const char **strings)
{
	if (content.size() < sizeof *header)
		return false;
	memcpy(header, content.data(), sizeof *header);
	if (header->magic != BTF_MAGIC || header->hdr_len < sizeof *header)
		return false;
	const uint64_t types_at = uint64_t{ header->hdr_len } + header->type_off;
	const uint64_t strings_at = uint64_t{ header->hdr_len } + header->str_off;
	if (types_at + header->type_len > content.size() || strings_at + header->str_len > content.size())
		return false;
	*types = content.data() + types_at;
	*strings = content.data() + strings_at;
	return true;
}

int WriteAll(int fd, const void *data, size_t length)
{
	const char *at = static_cast<const char *>(data);
	while (length > 0) {
		const ssize_t wrote = write(fd, at, length);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		at += wrote;
		length -= static_cast<size_t>(wrote);
	}
	return 0;
}

} // namespace

KernelBtf::~KernelBtf()
{
	Release();
}

void KernelBtf::Release()
{
	btf__free(btf_);
	btf_ = nullptr;
}

std::string KernelBtf::Path()
{
	const char *given = getenv("KTRACE_BTF");
	if (given != nullptr && *given != '\0')
		return given;
	const std::string path = std::string(kDirectory) + "vmlinux";
	return access(path.c_str(), R_OK) == 0 ? path : "";
}

const btf *KernelBtf::Get()
{
	if (btf_ == nullptr) {
		LibbpfLog quiet;
		const std::string path = Path();
		btf_ = path.empty() ? btf__load_vmlinux_btf() : btf__parse(path.c_str(), nullptr);
	}
	return btf_;
}

bool KernelBtf::Any(const std::function<bool(const btf *, int)> &found)
{
	if (Get() == nullptr)
		return false;
	if (found(btf_, 1))
		return true;
	if (getenv("KTRACE_BTF") != nullptr)
		return false;
	DIR *directory = opendir(kDirectory);
	if (directory == nullptr)
		return false;
	LibbpfLog quiet;
	bool yes = false;
	while (!yes) {
		const dirent *entry = readdir(directory);
		if (entry == nullptr)
			break;
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "vmlinux") == 0)
			continue;
		btf *module = btf__parse_split((kDirectory + std::string(entry->d_name)).c_str(), btf_);
		if (module == nullptr)
			continue;
		yes = found(module, static_cast<int>(btf__type_cnt(btf_)));
		btf__free(module);
	}
	closedir(directory);
	return yes;
}

int JoinedBtf(const std::string &kernel_path, const std::string &module)
{
	std::string kernel, extra;
	if (!ReadFile(kDirectory + module, &extra) || !ReadFile(kernel_path, &kernel))
		return -ENOENT;
	btf_header first, second;
	const char *first_types, *first_strings, *second_types, *second_strings;
	if (!SplitSections(kernel, &first, &first_types, &first_strings) ||
	    !SplitSections(extra, &second, &second_types, &second_strings)) {
		return -EINVAL;
	}
	btf_header header = first;
	header.hdr_len = sizeof header;
	header.type_off = 0;
	header.type_len = first.type_len + second.type_len;
	header.str_off = header.type_len;
	header.str_len = first.str_len + second.str_len;
	const int fd = memfd_create("ktrace-btf", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = WriteAll(fd, &header, sizeof header);
	if (err == 0)
		err = WriteAll(fd, first_types, first.type_len);
	if (err == 0)
		err = WriteAll(fd, second_types, second.type_len);
	if (err == 0)
		err = WriteAll(fd, first_strings, first.str_len);
	if (err == 0)
		err = WriteAll(fd, second_strings, second.str_len);
	if (err != 0) {
		close(fd);
		return err;
	}
	return fd;
}

} // namespace ktrace

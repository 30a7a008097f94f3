// One opened and loaded BPF object: its maps, programs, variables and what of it is attached.
#pragma once

#include <bpf/libbpf.h>
#include <napi.h>

#include <map>
#include <string>
#include <vector>

#include "link/clsact.h"
#include "object/open-options.h"

namespace ktrace
{

struct Attachment {
	enum class Kind { kTcx, kClsact, kTracing } kind;
	// Of a tcx link, which lives as long as this descriptor.
	int fd = -1;
	bpf_link *link = nullptr;
	ClsactFilter filter;
};

class BpfObject : public Napi::ObjectWrap<BpfObject>
{
public:
	static Napi::Function Define(Napi::Env env);
	explicit BpfObject(const Napi::CallbackInfo &info);
	// Also runs for an object that was collected, or whose environment ended without a close: everything is detached and freed.
	~BpfObject() override;

	// The map, or null with a JavaScript error thrown.
	bpf_map *FindMap(const std::string &name);
	// Where a variable of four bytes is that programs and user space both write; null where there is none, or the object is closed.
	uint32_t *FindWord(const std::string &name);

private:
	// bpf-load.cc
	// `shared`: null, or whose maps and variables this object uses as its own.
	void Open(const std::string &path, const OpenOptions &options, const BpfObject *shared);
	bool Expect(const OpenOptions &options);
	bool Configure(const OpenOptions &options);
	bool Size(const OpenOptions &options);
	bool Allocate(const OpenOptions &options);
	bool Leave(const OpenOptions &options);
	bool Share(const BpfObject &other);
	bool Choose(const OpenOptions &options);
	bool Aim(const OpenOptions &options);

	// bpf-maps.cc
	Napi::Value MapUpdate(const Napi::CallbackInfo &info);
	Napi::Value MapLookup(const Napi::CallbackInfo &info);
	Napi::Value MapDelete(const Napi::CallbackInfo &info);
	Napi::Value MapTake(const Napi::CallbackInfo &info);
	Napi::Value MapEntries(const Napi::CallbackInfo &info);
	Napi::Value MapInfo(const Napi::CallbackInfo &info);
	Napi::Value MapSetProgram(const Napi::CallbackInfo &info);

	// bpf-code.cc
	Napi::Value MapSetCode(const Napi::CallbackInfo &info);

	// bpf-globals.cc
	struct Variable {
		std::string section;
		bpf_map *map;
		size_t offset;
		size_t size;
	};
	bool FindVariable(const std::string &name, Variable *variable);
	uint8_t *Address(const Variable &variable);
	Napi::Value SetGlobal(const Napi::CallbackInfo &info);
	Napi::Value GetGlobal(const Napi::CallbackInfo &info);

	// bpf-object.cc
	Napi::Value AttachTc(const Napi::CallbackInfo &info);
	Napi::Value AttachTracing(const Napi::CallbackInfo &info);
	Napi::Value AttachKprobe(const Napi::CallbackInfo &info);
	Napi::Value Detach(const Napi::CallbackInfo &info);
	Napi::Value IsAttached(const Napi::CallbackInfo &info);
	Napi::Value TestRun(const Napi::CallbackInfo &info);
	Napi::Value ProgramInfo(const Napi::CallbackInfo &info);
	Napi::Value Programs(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);
	bool Opened();
	bpf_program *FindProgram(const std::string &name);
	void Release();

	struct Mapped {
		uint8_t *memory;
		size_t bytes;
	};

	bpf_object *object_ = nullptr;
	std::map<uint32_t, Attachment> attached_;
	uint32_t next_handle_ = 1;
	std::map<std::string, Mapped> sections_;
};

// Undoes one attachment. What is gone already (an interface that vanished) is no error.
int Undo(Attachment *attachment);

} // namespace ktrace

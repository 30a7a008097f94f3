#include "btf/btf.h"

#include <bpf/btf.h>
#include <linux/btf.h>

#include <cerrno>
#include <map>
#include <string>

#include "util/errors.h"
#include "btf/kernel-btf.h"
#include "btf/state.h"

namespace ktrace
{
namespace
{

const btf_type *TypeOf(const btf *types, uint32_t id)
{
	return btf__type_by_id(types, id);
}

const char *NameOf(const btf *types, const btf_type *type)
{
	return btf__name_by_offset(types, type->name_off);
}

// As C writes it: `struct sk_buff *`, `enum skb_drop_reason`, `const void *`.
std::string TypeText(const btf *types, uint32_t id, int depth = 0)
{
	if (id == 0)
		return "void";
	const btf_type *type = TypeOf(types, id);
	if (type == nullptr || depth > 16)
		return "?";
	const std::string name = NameOf(types, type);
	switch (btf_kind(type)) {
	case BTF_KIND_PTR: {
		const std::string to = TypeText(types, type->type, depth + 1);
		return to + (to.back() == '*' ? "*" : " *");
	}
	case BTF_KIND_CONST:
		return "const " + TypeText(types, type->type, depth + 1);
	case BTF_KIND_VOLATILE:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_TYPE_TAG:
		return TypeText(types, type->type, depth + 1);
	case BTF_KIND_STRUCT:
		return "struct " + name;
	case BTF_KIND_UNION:
		return "union " + name;
	case BTF_KIND_FWD:
		return (btf_kflag(type) ? "union " : "struct ") + name;
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		return "enum " + name;
	case BTF_KIND_FUNC_PROTO:
		return "function";
	default:
		return name.empty() ? "?" : name;
	}
}

// A member of an anonymous struct or union belongs to the one around it, as in C.
bool HasMember(const btf *types, const btf_type *type, const std::string &member, int depth = 0)
{
	const btf_member *at = btf_members(type);
	for (int i = 0; i < btf_vlen(type); i++, at++) {
		const std::string name = btf__name_by_offset(types, at->name_off);
		if (name == member)
			return true;
		if (!name.empty() || depth > 16)
			continue;
		const btf_type *inner = TypeOf(types, at->type);
		if (inner != nullptr && btf_is_composite(inner) && HasMember(types, inner, member, depth + 1))
			return true;
	}
	return false;
}

// Calls `found` for each struct of this name until it says true.
bool AnyStruct(State &state, const std::string &name, const std::function<bool(const btf *, const btf_type *)> &found)
{
	return state.kernel_btf.Any([&](const btf *types, int first) {
		const int count = static_cast<int>(btf__type_cnt(types));
		for (int id = first; id < count; id++) {
			const btf_type *type = TypeOf(types, static_cast<uint32_t>(id));
			if (btf_is_struct(type) && name == NameOf(types, type) && found(types, type))
				return true;
		}
		return false;
	});
}

Napi::Value Available(const Napi::CallbackInfo &info)
{
	return Napi::Boolean::New(info.Env(), StateOf(info.Env()).kernel_btf.Get() != nullptr);
}

Napi::Value HasStruct(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	return Napi::Boolean::New(
		info.Env(), AnyStruct(StateOf(info.Env()), name, [](const btf *, const btf_type *) { return true; }));
}

Napi::Value HasStructMember(const Napi::CallbackInfo &info)
{
	const std::string name = info[0].As<Napi::String>();
	const std::string member = info[1].As<Napi::String>();
	const auto found = [&member](const btf *types, const btf_type *type) { return HasMember(types, type, member); };
	return Napi::Boolean::New(info.Env(), AnyStruct(StateOf(info.Env()), name, found));
}

Napi::Value EnumValues(const Napi::CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	const std::string name = info[0].As<Napi::String>();
	const btf *types = StateOf(env).kernel_btf.Get();
	const int id = types == nullptr ? -1 : btf__find_by_name_kind(types, name.c_str(), BTF_KIND_ENUM);
	Napi::Object values = Napi::Object::New(env);
	if (id > 0) {
		const btf_type *type = TypeOf(types, static_cast<uint32_t>(id));
		const struct btf_enum *at = btf_enum(type);
		for (int i = 0; i < btf_vlen(type); i++, at++) {
			const double value = btf_kflag(type) ? static_cast<double>(at->val)
							     : static_cast<double>(static_cast<uint32_t>(at->val));
			values.Set(btf__name_by_offset(types, at->name_off), Napi::Number::New(env, value));
		}
		return values;
	}
	const int wide = types == nullptr ? -1 : btf__find_by_name_kind(types, name.c_str(), BTF_KIND_ENUM64);
	if (wide <= 0)
		return env.Undefined();
	const btf_type *type = TypeOf(types, static_cast<uint32_t>(wide));
	const struct btf_enum64 *at = btf_enum64(type);
	for (int i = 0; i < btf_vlen(type); i++, at++) {
		const uint64_t raw = btf_enum64_value(at);
		const double value =
			btf_kflag(type) ? static_cast<double>(static_cast<int64_t>(raw)) : static_cast<double>(raw);
		values.Set(btf__name_by_offset(types, at->name_off), Napi::Number::New(env, value));
	}
	return values;
}

// Of each name all functions: the kernel's, and its modules'. One walk for all names: modules' types are read anew in each.
Napi::Value FunctionParameters(const Napi::CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	const Napi::Array names = info[0].As<Napi::Array>();
	Napi::Object found = Napi::Object::New(env);
	std::map<std::string, Napi::Array> lists;
	for (uint32_t i = 0; i < names.Length(); i++) {
		const std::string name = names.Get(i).As<Napi::String>();
		lists[name] = Napi::Array::New(env);
		found.Set(name, lists[name]);
	}
	StateOf(env).kernel_btf.Any([&](const btf *types, int first) {
		const int end = static_cast<int>(btf__type_cnt(types));
		for (int id = first; id < end; id++) {
			const btf_type *type = TypeOf(types, static_cast<uint32_t>(id));
			if (!btf_is_func(type))
				continue;
			const auto list = lists.find(NameOf(types, type));
			const btf_type *prototype = list == lists.end() ? nullptr : TypeOf(types, type->type);
			if (prototype == nullptr || !btf_is_func_proto(prototype))
				continue;
			Napi::Array parameters = Napi::Array::New(env);
			const btf_param *at = btf_params(prototype);
			for (uint32_t i = 0; i < btf_vlen(prototype); i++)
				parameters.Set(i, Napi::String::New(env, btf__name_by_offset(types, at[i].name_off)));
			list->second.Set(list->second.Length(), parameters);
		}
		return false;
	});
	return found;
}

Napi::Value TracepointArguments(const Napi::CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	const std::string name = "btf_trace_" + info[0].As<Napi::String>().Utf8Value();
	const btf *types = StateOf(env).kernel_btf.Get();
	const int id = types == nullptr ? -1 : btf__find_by_name_kind(types, name.c_str(), BTF_KIND_TYPEDEF);
	if (id <= 0)
		return env.Undefined();
	// typedef void (*btf_trace_NAME)(void *, …)
	const btf_type *pointer = TypeOf(types, TypeOf(types, static_cast<uint32_t>(id))->type);
	if (pointer == nullptr || !btf_is_ptr(pointer))
		return env.Undefined();
	const btf_type *prototype = TypeOf(types, pointer->type);
	if (prototype == nullptr || !btf_is_func_proto(prototype))
		return env.Undefined();
	Napi::Array arguments = Napi::Array::New(env);
	const btf_param *at = btf_params(prototype);
	for (int i = 1; i < btf_vlen(prototype); i++) {
		arguments.Set(static_cast<uint32_t>(i - 1), Napi::String::New(env, TypeText(types, at[i].type)));
	}
	return arguments;
}

void Release(const Napi::CallbackInfo &info)
{
	StateOf(info.Env()).kernel_btf.Release();
}

} // namespace

Napi::Object DefineBtf(Napi::Env env)
{
	Napi::Object result = Napi::Object::New(env);
	result.Set("available", Napi::Function::New<Available>(env));
	result.Set("enumValues", Napi::Function::New<EnumValues>(env));
	result.Set("hasStruct", Napi::Function::New<HasStruct>(env));
	result.Set("hasMember", Napi::Function::New<HasStructMember>(env));
	result.Set("functionParameters", Napi::Function::New<FunctionParameters>(env));
	result.Set("tracepointArguments", Napi::Function::New<TracepointArguments>(env));
	result.Set("release", Napi::Function::New<Release>(env));
	return result;
}

} // namespace ktrace

#include "object/open-options.h"

#include <functional>

namespace ktrace
{
namespace
{

bool EachElement(const Napi::Value &list, const std::function<void(const Napi::Value &)> &take)
{
	if (list.IsEmpty() || !list.IsArray())
		return false;
	const Napi::Array array = list.As<Napi::Array>();
	const uint32_t length = array.Length();
	for (uint32_t i = 0; i < length; i++) {
		const Napi::Value element = array.Get(i);
		if (element.IsEmpty())
			return false;
		take(element);
	}
	return true;
}

bool EachProperty(const Napi::Value &record, const std::function<void(const std::string &, const Napi::Value &)> &take)
{
	if (record.IsEmpty() || !record.IsObject())
		return false;
	const Napi::Object object = record.As<Napi::Object>();
	bool good = true;
	const bool all = EachElement(object.GetPropertyNames(), [&](const Napi::Value &name) {
		const Napi::Value value = object.Get(name);
		good = good && !value.IsEmpty();
		if (good)
			take(name.As<Napi::String>(), value);
	});
	return all && good;
}

Bytes BytesOf(const Napi::Value &value)
{
	const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
	return Bytes(array.Data(), array.Data() + array.ByteLength());
}

} // namespace

bool ReadOpenOptions(const Napi::Object &given, OpenOptions *options)
{
	const Napi::Value module_btf = given.Get("moduleBtf");
	if (!module_btf.IsEmpty() && module_btf.IsString())
		options->module_btf = module_btf.As<Napi::String>();
	const auto read = [&given](const char *name, std::vector<std::pair<std::string, Bytes>> *values) {
		return EachProperty(given.Get(name), [values](const std::string &key, const Napi::Value &value) {
			values->emplace_back(key, BytesOf(value));
		});
	};
	return read("config", &options->config) && read("expect", &options->expect) &&
	       EachProperty(given.Get("mapSizes"),
			    [options](const std::string &key, const Napi::Value &value) {
				    options->map_sizes.emplace_back(key, value.As<Napi::Number>().Uint32Value());
			    }) &&
	       EachProperty(given.Get("preallocated"),
			    [options](const std::string &key, const Napi::Value &value) {
				    options->preallocated.emplace_back(key, value.As<Napi::Boolean>().Value());
			    }) &&
	       EachProperty(given.Get("targets"),
			    [options](const std::string &key, const Napi::Value &value) {
				    options->targets.emplace_back(key, value.As<Napi::String>());
			    }) &&
	       EachElement(given.Get("only"),
			   [options](const Napi::Value &name) { options->only.push_back(name.As<Napi::String>()); }) &&
	       EachElement(given.Get("without"),
			   [options](const Napi::Value &name) { options->without.push_back(name.As<Napi::String>()); });
}

} // namespace ktrace

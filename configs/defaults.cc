#include "configs/defaults.h"

#include <yaml-cpp/yaml.h>

#include <string>

#include "absl/algorithm/container.h"
#include "configs/scalar.h"

namespace fttrain::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Of the adapter that init_from names, unless they are written.
constexpr const char* kOfTheAdapter[] = {"r", "alpha", "target_modules", "use_rslora"};

bool HasDefault(const FieldDescriptor& field, const AdapterConfig& adapter) {
  if (field.containing_type() != AdapterConfig::descriptor()) return true;
  if (field.name() == "quantization") return adapter.method() == ADAPTER_METHOD_QLORA;
  if (adapter.has_init_from() && absl::c_linear_search(kOfTheAdapter, field.name())) return false;
  return adapter.method() != ADAPTER_METHOD_NONE;
}

bool HasDefaults(const google::protobuf::Descriptor& section) {
  for (int i = 0; i < section.field_count(); ++i) {
    const FieldDescriptor& field = *section.field(i);
    if (field.options().HasExtension(by_default)) return true;
    if (field.message_type() != nullptr && HasDefaults(*field.message_type())) return true;
  }
  return false;
}

// A default is read as if a file had it. Of a list's elements those there are have theirs.
void FillSection(Message& section, const AdapterConfig& adapter) {
  const Reflection& reflection = *section.GetReflection();
  for (int i = 0; i < section.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *section.GetDescriptor()->field(i);
    if (!HasDefault(field, adapter)) continue;
    if (field.message_type() != nullptr) {
      if (!HasDefaults(*field.message_type())) continue;
      const int size = field.is_repeated() ? reflection.FieldSize(section, &field) : 0;
      for (int element = 0; element < size; ++element) {
        FillSection(*reflection.MutableRepeatedMessage(&section, &field, element), adapter);
      }
      if (!field.is_repeated()) FillSection(*reflection.MutableMessage(&section, &field), adapter);
      continue;
    }
    const bool is_there = field.is_repeated() ? reflection.FieldSize(section, &field) > 0
                                              : reflection.HasField(section, &field);
    if (is_there || !field.options().HasExtension(by_default)) continue;
    SetScalar(YAML::Node(std::string(field.options().GetExtension(by_default))), field.name(),
              field, section);
  }
}

}  // namespace

void FillDefaults(RunConfig& config) {
  AdapterConfig& adapter = *config.mutable_adapter();
  if (!adapter.has_method()) adapter.set_method(ADAPTER_METHOD_LORA);
  if (!config.optimizer().has_learning_rate()) {
    const bool adapts = adapter.method() != ADAPTER_METHOD_NONE;
    config.mutable_optimizer()->set_learning_rate(adapts ? 2e-4 : 2e-5);
  }
  FillSection(config, AdapterConfig(adapter));
}

}  // namespace fttrain::config

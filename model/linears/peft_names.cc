#include "model/linears/peft_names.h"

#include "model/matmul/tensor_rows.h"

namespace fttrain {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kSuffixes[] = {".lora_A.weight", ".lora_B.weight"};  // by Factor

}  // namespace

std::string PeftName(const std::string& module, Factor factor) {
  std::string name(kPrefix);
  name += module;
  name += kSuffixes[static_cast<size_t>(factor)];
  return name;
}

std::optional<AdapterTensorName> ParsePeftName(std::string_view name) {
  const std::string tensor = TensorOfName(name);
  name = tensor;
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  for (const Factor factor : {Factor::kA, Factor::kB}) {
    const std::string_view suffix = kSuffixes[static_cast<size_t>(factor)];
    if (!name.ends_with(suffix)) continue;
    name.remove_suffix(suffix.size());
    return AdapterTensorName{std::string(name), factor};
  }
  return std::nullopt;
}

}  // namespace fttrain

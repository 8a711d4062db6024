#include "model/files/adapter.h"

#include <filesystem>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config/generation_config.h"
#include "model/files/adapter_config.h"
#include "model/files/tensor_io.h"
#include "model/files/weight_loader.h"
#include "model/linears/adapter_modules.h"
#include "model/linears/expert_factors.h"
#include "model/linears/peft_names.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Modules in the order of the first list, then those of the second alone.
std::vector<std::string> InOrder(const std::vector<std::string>& order,
                                 std::set<std::string> modules) {
  std::vector<std::string> sorted;
  for (const std::string& module : order) {
    if (modules.erase(module) > 0) sorted.push_back(module);
  }
  sorted.insert(sorted.end(), modules.begin(), modules.end());
  return sorted;
}

// That the files are on the modules that the form means: in words that say more than the names of
// tensors would.
absl::Status CheckModules(const SafetensorsFolder& files, const AdapterForm& form,
                          const ModelSpec& model) {
  FT_ASSIGN_OR_RETURN(const std::vector<std::string> meant, AdaptedModules(model, form));
  std::set<std::string> there, of_parameters;
  for (const TensorSpec& tensor : AdapterTensors(model, form)) {
    if (tensor.role == LinearRole::kExpert) of_parameters.insert(tensor.name);
  }
  for (const std::string& tensor : files.Names()) {
    const auto name = ParsePeftName(tensor);
    if (name && !of_parameters.contains(tensor)) there.insert(name->module);
  }
  if (there.empty() || there == std::set<std::string>(meant.begin(), meant.end())) {
    return absl::OkStatus();
  }
  const int64_t layers = model.num_layers();
  return absl::InvalidArgumentError(
      absl::StrCat(files.path(), ": adapts ",
                   Printable(DescribeModules(InOrder(LinearModules(model), there), layers)),
                   ", but target_modules ", ToString(form.target_modules),
                   " and what goes with it in the adapter's config means ",
                   DescribeModules(meant, layers), " of this model's ", layers, " layers"));
}

std::string Listed(const std::vector<int64_t>& numbers) {
  return numbers.empty() ? "none" : absl::StrCat("[", absl::StrJoin(numbers, ", "), "]");
}

std::string Listed(const std::vector<std::string>& names) {
  return names.empty() ? "none" : Printable(absl::StrCat("[", absl::StrJoin(names, ", "), "]"));
}

template <typename T>
std::string Listed(const std::vector<std::pair<std::string, T>>& patterns) {
  if (patterns.empty()) return "none";
  return Printable(
      absl::StrCat("{", absl::StrJoin(patterns, ", ", absl::PairFormatter(": ")), "}"));
}

std::string Listed(const ModuleNames& modules) {
  return modules.empty() ? "none" : ToString(modules);
}

// Where the keys that choose modules differ, if the chosen modules do.
absl::Status CompareModules(const AdapterForm& saved, const AdapterForm& run,
                            const ModelSpec& model, std::vector<std::string>& differences) {
  FT_ASSIGN_OR_RETURN(const std::vector<std::string> there, AdaptedModules(model, saved));
  FT_ASSIGN_OR_RETURN(const std::vector<std::string> here, AdaptedModules(model, run));
  if (there == here) return absl::OkStatus();
  std::vector<std::string> keys;
  const auto compare = [&](const char* key, const auto& was, const auto& is) {
    if (was == is) return;
    keys.push_back(absl::StrCat(key, " ", Listed(was), " there, ", Listed(is), " in this run"));
  };
  compare("target_modules", saved.target_modules, run.target_modules);
  compare("exclude_modules", saved.exclude_modules, run.exclude_modules);
  compare("layers_to_transform", saved.layers_to_transform, run.layers_to_transform);
  compare("layers_pattern", ModuleNames{saved.layers_pattern}, ModuleNames{run.layers_pattern});
  differences.push_back(absl::StrCat(
      absl::StrJoin(keys, "; "), " (it is on ", DescribeModules(there, model.num_layers()),
      "; this run asks for ", DescribeModules(here, model.num_layers()), ")"));
  return absl::OkStatus();
}

template <typename Same>
bool SameOnParameters(const AdapterForm& a, const AdapterForm& b, const ModelSpec& model,
                      const Same& same) {
  if (a.target_parameters.empty() && b.target_parameters.empty()) return true;
  return absl::c_all_of(ExpertParameters(model), [&](const LinearSpec& linear) {
    const std::string& parameter = linear.stack->tensor;
    return same(a.OnParameter(parameter), b.OnParameter(parameter));
  });
}

// Whether the forms give every linear the same.
bool Equal(const AdapterForm& a, const AdapterForm& b, const ModelSpec& model) {
  const auto same = [](const std::optional<LowRank>& one, const std::optional<LowRank>& other) {
    if (!one || !other) return !one && !other;
    return one->r == other->r && one->scale == other->scale;
  };
  return absl::c_all_of(
             LinearModules(model),
             [&](const std::string& module) { return same(a.On(module), b.On(module)); }) &&
         SameOnParameters(a, b, model, same);
}

}  // namespace

absl::Status WriteAdapter(const std::string& folder, const AdapterForm& form,
                          const std::vector<AdapterTensor>& tensors) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create folder ", folder));
  }
  std::vector<SafetensorsWriter::Tensor> declared;
  for (const AdapterTensor& tensor : tensors) {
    declared.push_back({tensor.name, SafetensorsDtype::kF32, tensor.value.sizes().vec()});
  }
  const std::string json = AdapterConfigJson(form);
  AtomicFile config_file;
  const int64_t json_bytes = static_cast<int64_t>(json.size());
  FT_RETURN_IF_ERROR(config_file.Open(AdapterConfigPath(folder), json_bytes));
  FT_RETURN_IF_ERROR(config_file.Append(json.data(), json_bytes));
  FT_ASSIGN_OR_RETURN(const auto writer,
                      SafetensorsWriter::Create(absl::StrCat(folder, "/", kAdapterTensorFile),
                                                declared, {{"format", "pt"}}));
  for (const AdapterTensor& tensor : tensors) {
    FT_RETURN_IF_ERROR(AppendTensor(
        tensor.value, at::kFloat,
        [&](const void* data, int64_t size_bytes) { return writer->Append(data, size_bytes); }));
  }
  FT_RETURN_IF_ERROR(writer->Finish());
  return config_file.Commit();
}

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapterTensors(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kAdapterTensorFile);
  if (!std::filesystem::exists(path) &&
      std::filesystem::exists(absl::StrCat(folder, "/adapter_model.bin"))) {
    return absl::NotFoundError(absl::StrCat(
        path, " is not there, and adapter_model.bin is not supported: save it as safetensors"));
  }
  return SafetensorsFolder::OpenFile(path);
}

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapter(const std::string& folder,
                                                               const AdapterForm& form,
                                                               const ModelSpec& model) {
  FT_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFolder> tensors, OpenAdapterTensors(folder));
  FT_RETURN_IF_ERROR(CheckModules(*tensors, form, model));
  FT_RETURN_IF_ERROR(CheckTensors(*tensors, AdapterTensors(model, form)));
  return tensors;
}

absl::StatusOr<AdapterFolder> OpenAdapterFolder(const std::string& folder, const ModelSpec& model) {
  AdapterFolder adapter;
  FT_ASSIGN_OR_RETURN(adapter.form, ReadAdapterConfig(folder));
  FT_RETURN_IF_ERROR(CheckAdapter(model, adapter.form, AdapterConfigPath(folder)));
  FT_ASSIGN_OR_RETURN(const std::vector<std::string> modules, AdaptedModules(model, adapter.form));
  for (const std::string& module : modules) adapter.modules[module] = *adapter.form.On(module);
  FT_ASSIGN_OR_RETURN(adapter.tensors, OpenAdapter(folder, adapter.form, model));
  FT_ASSIGN_OR_RETURN(adapter.end_ids, GenerationEndIds(folder));
  return adapter;
}

absl::Status CompareAdapters(const std::string& folder, const AdapterForm& saved,
                             const AdapterForm& run, const ModelSpec& model) {
  if (Equal(saved, run, model)) return absl::OkStatus();
  std::vector<std::string> differences;
  const auto compare = [&](const char* key, const auto& was, const auto& is) {
    if (was == is) return;
    differences.push_back(absl::StrCat(key, " ", was, " there, ", is, " in this run"));
  };
  const auto word = [](bool value) { return value ? "true" : "false"; };
  compare("r", saved.r, run.r);
  compare("lora_alpha", saved.alpha, run.alpha);
  compare("use_rslora", std::string(word(saved.use_rslora)), std::string(word(run.use_rslora)));
  compare("rank_pattern", Listed(saved.rank_pattern), Listed(run.rank_pattern));
  compare("alpha_pattern", Listed(saved.alpha_pattern), Listed(run.alpha_pattern));
  compare("target_parameters", Listed(saved.target_parameters), Listed(run.target_parameters));
  FT_RETURN_IF_ERROR(CompareModules(saved, run, model, differences));
  return absl::InvalidArgumentError(
      absl::StrCat(AdapterConfigPath(folder), ": ", absl::StrJoin(differences, "; ")));
}

}  // namespace fttrain

#include "model/files/adapter.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/files/tensor_io.h"
#include "model/files/weight_loader.h"
#include "model/linears/peft_names.h"
#include "runtime/files/json.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kTensorFile[] = "adapter_model.safetensors";
constexpr char kAllLinear[] = "all-linear";
constexpr int64_t kMaxConfigBytes = 16 << 20;

// Read here.
constexpr const char* kUsed[] = {"peft_type",
                                 "r",
                                 "lora_alpha",
                                 "lora_dropout",
                                 "use_rslora",
                                 "target_modules",
                                 "base_model_name_or_path",
                                 "bias",
                                 "task_type",
                                 "init_lora_weights"};
// Of no consequence for loading a plain LoRA adapter: provenance, and settings of initialisations
// and methods that other keys switch on.
constexpr const char* kInert[] = {
    "auto_mapping",      "corda_config",   "ensure_weight_tying", "eva_config",    "inference_mode",
    "loftq_config",      "lora_ga_config", "megatron_config",     "megatron_core", "peft_version",
    "qalora_group_size", "revision",       "layers_pattern"};

// Null, false, 0, "" or empty: a feature that is off.
bool IsNeutral(const Json& value) {
  return value.is_null() || value == false || value == 0 || value == "" || value.empty();
}

// Every other key must be off: what we do not know might change the result.
void RefuseOtherFeatures(const Json& json, JsonKeys& keys) {
  for (const auto& [key, value] : json.items()) {
    if (absl::c_linear_search(kUsed, key) || absl::c_linear_search(kInert, key) || IsNeutral(value))
      continue;
    keys.Fail(Printable(key), absl::StrCat("is ", Printable(value.dump()),
                                           ": only plain LoRA adapters are supported"));
  }
  if (keys.Text("peft_type", "") != "LORA") {
    keys.Fail("peft_type", absl::StrCat("is '", Printable(keys.Text("peft_type", "")),
                                        "', only LORA is supported"));
  }
  if (keys.Text("bias", "none") != "none") keys.Fail("bias", "other than none is not supported");
  if (keys.Text("task_type", "CAUSAL_LM") != "CAUSAL_LM") {
    keys.Fail("task_type", "other than CAUSAL_LM is not supported");
  }
  // PiSSA, OLoRA, CorDA and LoftQ adapters belong to a changed base.
  const Json* init = keys.Find("init_lora_weights");
  const bool keeps_base = init == nullptr || init->is_boolean() || *init == "gaussian" ||
                          *init == "eva" || *init == "orthogonal";
  if (!keeps_base) {
    keys.Fail("init_lora_weights",
              absl::StrCat("is ", Printable(init->dump()), ": it changes the base model"));
  }
}

// Last parts of the module names that have a factor A in the file, sorted.
absl::StatusOr<std::vector<std::string>> AdaptedModules(const std::string& folder) {
  FT_ASSIGN_OR_RETURN(const auto tensors, OpenAdapterTensors(folder));
  std::set<std::string> modules;
  for (const std::string& tensor : tensors->Names()) {
    const auto name = ParsePeftName(tensor);
    if (name && name->factor == Factor::kA) modules.insert(LeafName(name->module));
  }
  return std::vector<std::string>(modules.begin(), modules.end());
}

absl::Status ReadTargets(const std::string& folder, JsonKeys& keys, AdapterForm& config) {
  const Json* targets = keys.Find("target_modules");
  if (targets != nullptr && targets->is_string()) {
    if (*targets == kAllLinear) config.target_modules = {kAllLinear};
    if (*targets == kAllLinear) return absl::OkStatus();
    FT_ASSIGN_OR_RETURN(config.target_modules, AdaptedModules(folder));
  } else if (targets != nullptr && targets->is_array()) {
    for (const Json& target : *targets) {
      if (!target.is_string()) keys.Fail("target_modules", "must list names");
      if (target.is_string()) config.target_modules.push_back(target.get<std::string>());
    }
    std::sort(config.target_modules.begin(), config.target_modules.end());
  }
  if (config.target_modules.empty()) keys.Fail("target_modules", "names no modules");
  return keys.status();
}

std::string ConfigJson(const AdapterForm& config) {
  using Ordered = nlohmann::ordered_json;
  const std::string& base = config.base_model_name_or_path;
  const bool is_whole = config.alpha == std::floor(config.alpha) && config.alpha < 1e15;
  const bool all = config.target_modules == std::vector<std::string>{kAllLinear};
  const Ordered json = {
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", base.empty() ? Ordered() : Ordered(base)},
      {"r", config.r},
      // PEFT declares an integer.
      {"lora_alpha",
       is_whole ? Ordered(static_cast<int64_t>(config.alpha)) : Ordered(config.alpha)},
      {"lora_dropout", config.dropout},
      {"use_rslora", config.use_rslora},
      {"target_modules", all ? Ordered(kAllLinear) : Ordered(config.target_modules)},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"use_dora", false},
      {"rank_pattern", Ordered::object()},
      {"alpha_pattern", Ordered::object()},
      {"layers_pattern", nullptr},
      {"layers_to_transform", nullptr},
      {"modules_to_save", nullptr},
      {"revision", nullptr}};
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string Text(const std::vector<std::string>& names) {
  return absl::StrCat("[", Printable(absl::StrJoin(names, ", ")), "]");
}

}  // namespace

absl::Status WriteAdapter(const std::string& folder, const AdapterForm& config,
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
  const std::string json = ConfigJson(config);
  AtomicFile config_file;
  const int64_t json_bytes = static_cast<int64_t>(json.size());
  FT_RETURN_IF_ERROR(config_file.Open(absl::StrCat(folder, "/", kConfigFile), json_bytes));
  FT_RETURN_IF_ERROR(config_file.Append(json.data(), json_bytes));
  FT_ASSIGN_OR_RETURN(const auto writer,
                      SafetensorsWriter::Create(absl::StrCat(folder, "/", kTensorFile), declared,
                                                {{"format", "pt"}}));
  for (const AdapterTensor& tensor : tensors) {
    FT_RETURN_IF_ERROR(AppendTensor(
        tensor.value, at::kFloat,
        [&](const void* data, int64_t size_bytes) { return writer->Append(data, size_bytes); }));
  }
  FT_RETURN_IF_ERROR(writer->Finish());
  return config_file.Commit();
}

absl::StatusOr<AdapterForm> ReadAdapterConfig(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kConfigFile);
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  FT_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  JsonKeys keys(json, path);
  RefuseOtherFeatures(json, keys);
  AdapterForm config;
  config.r = keys.Int("r", 1, 8);  // PEFT's defaults
  config.alpha = keys.Positive("lora_alpha", 8.0);
  const Json* dropout = keys.Find("lora_dropout");
  if (dropout != nullptr && *dropout != 0) config.dropout = keys.Positive("lora_dropout");
  if (config.dropout >= 1) keys.Fail("lora_dropout", "must be in [0, 1)");
  config.use_rslora = keys.Bool("use_rslora", false);
  config.base_model_name_or_path = keys.Text("base_model_name_or_path", "");
  if (!keys.status().ok()) return keys.status();
  FT_RETURN_IF_ERROR(ReadTargets(folder, keys, config));
  return config;
}

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapterTensors(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kTensorFile);
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
  FT_ASSIGN_OR_RETURN(const std::vector<TensorSpec> expected, AdapterTensors(model, form));
  FT_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFolder> tensors, OpenAdapterTensors(folder));
  FT_RETURN_IF_ERROR(CheckTensors(*tensors, expected));
  return tensors;
}

absl::Status CompareAdapterConfigs(const std::string& folder, const AdapterForm& saved,
                                   const AdapterForm& run) {
  std::vector<std::string> differences;
  const auto differ = [&](const char* key, const auto& was, const auto& is) {
    differences.push_back(absl::StrCat(key, " ", was, " there, ", is, " in this run"));
  };
  if (saved.r != run.r) differ("r", saved.r, run.r);
  if (saved.alpha != run.alpha) differ("lora_alpha", saved.alpha, run.alpha);
  if (saved.use_rslora != run.use_rslora) {
    differ("use_rslora", saved.use_rslora ? "true" : "false", run.use_rslora ? "true" : "false");
  }
  const std::set<std::string> a(saved.target_modules.begin(), saved.target_modules.end());
  const std::set<std::string> b(run.target_modules.begin(), run.target_modules.end());
  if (a != b && !a.contains(kAllLinear) && !b.contains(kAllLinear)) {
    differ("target_modules", Text({a.begin(), a.end()}), Text({b.begin(), b.end()}));
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(folder, "/", kConfigFile, ": ", absl::StrJoin(differences, "; ")));
}

}  // namespace fttrain

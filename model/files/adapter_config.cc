#include "model/files/adapter_config.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;
using Ordered = nlohmann::ordered_json;

constexpr int64_t kMaxConfigBytes = 16 << 20;

// Read here.
constexpr const char* kUsed[] = {"alpha_pattern",
                                 "base_model_name_or_path",
                                 "bias",
                                 "exclude_modules",
                                 "init_lora_weights",
                                 "layers_pattern",
                                 "layers_to_transform",
                                 "lora_alpha",
                                 "lora_dropout",
                                 "peft_type",
                                 "r",
                                 "rank_pattern",
                                 "target_modules",
                                 "target_parameters",
                                 "task_type",
                                 "use_rslora"};
// Of no consequence for loading a plain LoRA adapter: provenance, and settings of initialisations
// and methods that other keys switch on.
constexpr const char* kInert[] = {"auto_mapping",      "corda_config",   "ensure_weight_tying",
                                  "eva_config",        "inference_mode", "loftq_config",
                                  "lora_ga_config",    "megatron_core",  "peft_version",
                                  "qalora_group_size", "revision",       "runtime_config"};
// Features that are not done here: they must be off.
constexpr const char* kFeatures[] = {"alora_invocation_tokens",
                                     "arrow_config",
                                     "enable_lora",
                                     "fan_in_fan_out",
                                     "kasa_config",
                                     "layer_replication",
                                     "lora_bias",
                                     "megatron_config",
                                     "merge_weights",
                                     "modules_to_save",
                                     "modules_to_tie",
                                     "monteclora_config",
                                     "target_modules_to_tie",
                                     "trainable_token_indices",
                                     "use_bdlora",
                                     "use_dora",
                                     "use_qalora",
                                     "velora_config"};

// Null, false, 0, "" or empty: a feature that is off.
bool IsNeutral(const Json& value) {
  return value.is_null() || value == false || value == 0 || value == "" || value.empty();
}

void RefuseOtherFeatures(const Json& json, JsonKeys& keys) {
  for (const auto& [key, value] : json.items()) {
    if (absl::c_linear_search(kUsed, key) || absl::c_linear_search(kInert, key)) continue;
    if (!absl::c_linear_search(kFeatures, key)) {
      keys.Fail(Printable(key), absl::StrCat("is ", Printable(value.dump()),
                                             ": what this key does to the adapter is not known "
                                             "here; remove it if it does nothing"));
    } else if (!IsNeutral(value)) {
      keys.Fail(Printable(key), absl::StrCat("is ", Printable(value.dump()),
                                             ": only plain LoRA adapters are supported"));
    }
  }
  if (keys.Text("peft_type", "") != "LORA") {
    keys.Fail("peft_type", absl::StrCat("is '", Printable(keys.Text("peft_type", "")),
                                        "', only LORA is supported"));
  }
  if (keys.Text("bias", "none") != "none") keys.Fail("bias", "other than none is not supported");
  if (keys.Text("task_type", "CAUSAL_LM") != "CAUSAL_LM") {
    keys.Fail("task_type", "other than CAUSAL_LM is not supported");
  }
  // PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ adapters belong to a changed base.
  const Json* init = keys.Find("init_lora_weights");
  const bool keeps_base = init == nullptr || init->is_boolean() || *init == "gaussian" ||
                          *init == "eva" || *init == "orthogonal" || *init == "mica";
  if (!keeps_base) {
    keys.Fail("init_lora_weights",
              absl::StrCat("is ", Printable(init->dump()), ": it changes the base model"));
  }
}

// A list of texts; of one, if `one` allows it to stand alone.
std::vector<std::string> Texts(const char* key, bool one, JsonKeys& keys) {
  const Json* value = keys.Find(key);
  std::vector<std::string> texts;
  if (value == nullptr || *value == "") return texts;
  if (one && value->is_string()) return {value->get<std::string>()};
  if (!value->is_array()) keys.Fail(key, "must list names");
  for (const Json& text : value->is_array() ? *value : Json::array()) {
    if (!text.is_string() || text == "" || text == ModuleNames::kAllLinear) {
      keys.Fail(key, "must list names");
      continue;
    }
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

ModuleNames Modules(const char* key, JsonKeys& keys) {
  const Json* value = keys.Find(key);
  if (value != nullptr && value->is_string()) {
    std::string text = value->get<std::string>();
    if (!absl::EqualsIgnoreCase(text, ModuleNames::kAllLinear)) return {{}, std::move(text)};
    return {{ModuleNames::kAllLinear}};
  }
  ModuleNames modules{Texts(key, /*one=*/false, keys)};
  absl::c_sort(modules.names);
  return modules;
}

// A list of layers, or one.
std::vector<int64_t> Layers(JsonKeys& keys) {
  const Json* value = keys.Find("layers_to_transform");
  std::vector<int64_t> layers;
  if (value == nullptr) return layers;
  for (const Json& layer : value->is_array() ? *value : Json::array({*value})) {
    const bool good = layer.is_number_unsigned() && layer.get<uint64_t>() < (uint64_t{1} << 31);
    if (!good) keys.Fail("layers_to_transform", "must be the number of a layer or a list of them");
    if (good) layers.push_back(layer.get<int64_t>());
  }
  return layers;
}

// As in the file: the first key that matches counts.
template <typename T, typename Value>
std::vector<std::pair<std::string, T>> Patterns(const Ordered& file, const char* key,
                                                const Value& value_of, JsonKeys& keys) {
  std::vector<std::pair<std::string, T>> patterns;
  const auto found = file.find(key);
  if (found == file.end() || found->is_null()) return patterns;
  if (!found->is_object()) keys.Fail(key, "must be an object of patterns");
  if (!found->is_object()) return patterns;
  for (const auto& [pattern, value] : found->items()) {
    const Json inner = {{pattern, value}};
    JsonKeys one(inner, absl::StrCat(keys.where(), ": ", key));
    patterns.emplace_back(pattern, value_of(one, pattern.c_str()));
    keys.Adopt(one.status());
  }
  return patterns;
}

void ReadModules(const Ordered& file, JsonKeys& keys, AdapterForm& form) {
  form.target_modules = Modules("target_modules", keys);
  form.target_parameters = Texts("target_parameters", /*one=*/false, keys);
  absl::c_sort(form.target_parameters);
  if (form.target_modules.empty() && form.target_parameters.empty()) {
    keys.Fail("target_modules", "names no modules");
  }
  form.exclude_modules = Modules("exclude_modules", keys);
  form.layers_to_transform = Layers(keys);
  form.layers_pattern = Texts("layers_pattern", /*one=*/true, keys);
  const Json* targets = keys.Find("target_modules");
  if (!form.layers_to_transform.empty() && targets != nullptr && targets->is_string()) {
    keys.Fail("layers_to_transform", "has no meaning beside target_modules as one string");
  }
  form.rank_pattern = Patterns<int64_t>(
      file, "rank_pattern", [](JsonKeys& one, const char* key) { return one.Int(key, 1); }, keys);
  form.alpha_pattern = Patterns<double>(
      file, "alpha_pattern", [](JsonKeys& one, const char* key) { return one.Positive(key); },
      keys);
}

// PEFT declares integers.
Ordered Number(double value) {
  const bool is_whole = value == std::floor(value) && value < 1e15;
  return is_whole ? Ordered(static_cast<int64_t>(value)) : Ordered(value);
}
Ordered Number(int64_t value) { return value; }

Ordered ToJson(const ModuleNames& modules) {
  if (!modules.regex.empty()) return modules.regex;
  if (modules.AllLinear()) return ModuleNames::kAllLinear;
  return modules.names;
}

template <typename T>
Ordered ToJson(const std::vector<std::pair<std::string, T>>& patterns) {
  Ordered object = Ordered::object();
  for (const auto& [pattern, value] : patterns) object[pattern] = Number(value);
  return object;
}

template <typename T>
Ordered OrNull(const T& list, Ordered json) {
  return list.empty() ? Ordered() : std::move(json);
}

}  // namespace

std::string AdapterConfigPath(const std::string& folder) {
  return absl::StrCat(folder, "/", kAdapterConfigFile);
}

absl::StatusOr<AdapterForm> ReadAdapterConfig(const std::string& folder) {
  const std::string path = AdapterConfigPath(folder);
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  FT_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  JsonKeys keys(json, path);
  RefuseOtherFeatures(json, keys);
  AdapterForm form;
  form.r = keys.Int("r", 1, 8);  // PEFT's defaults
  form.alpha = keys.Positive("lora_alpha", 8.0);
  const Json* dropout = keys.Find("lora_dropout");
  if (dropout != nullptr && *dropout != 0) form.dropout = keys.Positive("lora_dropout");
  if (form.dropout >= 1) keys.Fail("lora_dropout", "must be in [0, 1)");
  form.use_rslora = keys.Bool("use_rslora", false);
  form.base_model_name_or_path = keys.Text("base_model_name_or_path", "");
  ReadModules(Ordered::parse(text), keys, form);
  if (!keys.status().ok()) return keys.status();
  return form;
}

std::string AdapterConfigJson(const AdapterForm& form) {
  const std::string& base = form.base_model_name_or_path;
  const Ordered json = {
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", OrNull(base, base)},
      {"r", form.r},
      {"lora_alpha", Number(form.alpha)},
      {"lora_dropout", form.dropout},
      {"use_rslora", form.use_rslora},
      {"target_modules", ToJson(form.target_modules)},
      {"target_parameters", OrNull(form.target_parameters, form.target_parameters)},
      {"exclude_modules", OrNull(form.exclude_modules, ToJson(form.exclude_modules))},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"use_dora", false},
      {"rank_pattern", ToJson(form.rank_pattern)},
      {"alpha_pattern", ToJson(form.alpha_pattern)},
      {"layers_pattern", OrNull(form.layers_pattern, form.layers_pattern)},
      {"layers_to_transform", OrNull(form.layers_to_transform, form.layers_to_transform)},
      {"modules_to_save", nullptr},
      {"revision", nullptr}};
  return json.dump(2, ' ', /*ensure_ascii=*/false, Ordered::error_handler_t::replace) + "\n";
}

}  // namespace fttrain

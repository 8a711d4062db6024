#include "launch/plan/adapter_form.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "configs/schema.h"
#include "launch/exit_code.h"
#include "launch/plan/paths.h"
#include "model/files/adapter.h"
#include "model/files/adapter_config.h"
#include "model/linears/adapter_modules.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

using Texts = google::protobuf::RepeatedPtrField<std::string>;

// As YAML has them: one element that is no name is a regular expression.
ModuleNames ModulesOf(const Texts& texts) {
  if (texts.size() == 1 && texts[0] == config::kNoNames) return {};
  if (texts.size() == 1 && config::IsRegex(texts[0])) return {{}, texts[0]};
  return {{texts.begin(), texts.end()}};
}

// As PEFT finds it, wherever it is started: the hub's name, or a folder's whole path.
std::string NameOfBase(const std::string& path) {
  std::string name = HubNameOf(path);
  std::error_code error;
  const bool is_folder = name == path && std::filesystem::is_directory(path, error);
  return is_folder ? std::filesystem::absolute(path).lexically_normal().string() : name;
}

void AddModules(const ModuleNames& modules, Texts& texts) {
  if (!modules.regex.empty()) {
    // In brackets also what could be a name is none.
    const bool plain = config::IsRegex(modules.regex);
    *texts.Add() = plain ? modules.regex : "(?:" + modules.regex + ")";
  }
  for (const std::string& name : modules.names) *texts.Add() = name;
}

// In the key's words, which the folder's files do not have.
absl::Status CheckInitFrom(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) return absl::OkStatus();
  const std::string shown = absl::StrCat("adapter.init_from ", Printable(folder));
  if (std::filesystem::exists(folder, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(shown, " is a file: give the folder with adapter_config.json"));
  }
  return absl::NotFoundError(absl::StrCat(
      shown, ": no such folder; adapters are not downloaded, give the folder of one that is"));
}

// What is written in place of what `form` has.
void Apply(const config::AdapterConfig& written, AdapterForm& form) {
  if (written.has_r()) form.r = written.r();
  if (written.has_alpha()) form.alpha = written.alpha();
  if (written.has_use_rslora()) form.use_rslora = written.use_rslora();
  form.dropout = written.dropout();
  if (!written.target_modules().empty()) form.target_modules = ModulesOf(written.target_modules());
  const auto& parameters = written.target_parameters();
  if (!parameters.empty()) form.target_parameters.assign(parameters.begin(), parameters.end());
  if (!written.exclude_modules().empty()) {
    form.exclude_modules = ModulesOf(written.exclude_modules());
  }
  const auto& layers = written.layers_to_transform();
  if (!layers.empty()) form.layers_to_transform.assign(layers.begin(), layers.end());
  const auto& lists = written.layers_pattern();
  if (!lists.empty()) form.layers_pattern.assign(lists.begin(), lists.end());
  if (!written.rank_pattern().empty()) form.rank_pattern.clear();
  for (const auto& each : written.rank_pattern()) {
    form.rank_pattern.emplace_back(each.modules(), each.r());
  }
  if (!written.alpha_pattern().empty()) form.alpha_pattern.clear();
  for (const auto& each : written.alpha_pattern()) {
    form.alpha_pattern.emplace_back(each.modules(), each.alpha());
  }
}

// The words that go into the adapter's file: PEFT takes layers_to_transform beside a list alone,
// and there all-linear would be whole names, which it does not hold for.
void Spell(const ModelSpec& model, AdapterForm& form) {
  std::vector<std::string> leaves = LinearLeaves(model);
  std::vector<std::string>& names = form.target_modules.names;
  const bool all = form.target_modules.AllLinear();
  if (!form.target_modules.regex.empty()) {
    form.layers_to_transform.clear();
    form.layers_pattern.clear();
  } else if (all || absl::c_all_of(names, [&](const std::string& name) {
               return absl::c_linear_search(leaves, name);
             })) {
    std::erase_if(leaves, [&](const std::string& leaf) {
      return !all && !absl::c_linear_search(names, leaf);
    });
    names = std::move(leaves);
  }
}

}  // namespace

config::RunConfig WithOwnTargets(const config::LoadedConfig& loaded, const ModelSpec& model) {
  config::RunConfig run = loaded.config;
  const config::AdapterConfig& adapter = loaded.config.adapter();
  const bool written = loaded.where.count("adapter.target_modules") > 0;
  const bool none = adapter.method() == config::ADAPTER_METHOD_NONE;
  if (none || written || adapter.has_init_from() || !HasExperts(model)) return run;
  const std::vector<std::string> own = LinearLeaves(model);
  run.mutable_adapter()->mutable_target_modules()->Assign(own.begin(), own.end());
  return run;
}

absl::StatusOr<AdapterForm> AdapterFormOf(const config::RunConfig& run, const ModelSpec& model) {
  const config::AdapterConfig& written = run.adapter();
  const std::string& folder = written.init_from();
  AdapterForm saved;
  if (written.has_init_from()) {
    FT_RETURN_IF_ERROR(CheckInitFrom(folder));
    FT_ASSIGN_OR_RETURN(saved, FromFile(ReadAdapterConfig(folder)));
    FT_RETURN_IF_ERROR(FromFile(CheckAdapter(model, saved, AdapterConfigPath(folder))));
  }
  AdapterForm form = saved;
  Apply(written, form);
  form.base_model_name_or_path = NameOfBase(run.model().path());
  FT_RETURN_IF_ERROR(CheckAdapter(model, form, "adapter"));
  if (written.has_init_from()) {
    FT_RETURN_IF_ERROR(FromFile(CompareAdapters(folder, saved, form, model)));
  } else {
    FT_RETURN_IF_ERROR(CheckAdapterEntries(model, form, "adapter"));
  }
  Spell(model, form);
  return form;
}

void RecordAdapterForm(const AdapterForm& form, config::RunConfig& run) {
  config::AdapterConfig& adapter = *run.mutable_adapter();
  if (!adapter.has_init_from()) return;
  adapter.set_r(static_cast<int32_t>(form.r));
  adapter.set_alpha(form.alpha);
  adapter.set_use_rslora(form.use_rslora);
  if (adapter.target_modules().empty()) {
    AddModules(form.target_modules, *adapter.mutable_target_modules());
    if (form.target_modules.empty()) adapter.add_target_modules(config::kNoNames);
  }
  if (adapter.target_parameters().empty()) {
    adapter.mutable_target_parameters()->Assign(form.target_parameters.begin(),
                                                form.target_parameters.end());
  }
  if (adapter.exclude_modules().empty()) {
    AddModules(form.exclude_modules, *adapter.mutable_exclude_modules());
  }
  if (adapter.layers_to_transform().empty()) {
    adapter.mutable_layers_to_transform()->Assign(form.layers_to_transform.begin(),
                                                  form.layers_to_transform.end());
  }
  if (adapter.layers_pattern().empty()) {
    adapter.mutable_layers_pattern()->Assign(form.layers_pattern.begin(),
                                             form.layers_pattern.end());
  }
  if (adapter.rank_pattern().empty()) {
    for (const auto& [modules, r] : form.rank_pattern) {
      config::ModuleRank& rank = *adapter.add_rank_pattern();
      rank.set_modules(modules);
      rank.set_r(static_cast<int32_t>(r));
    }
  }
  if (adapter.alpha_pattern().empty()) {
    for (const auto& [modules, alpha] : form.alpha_pattern) {
      config::ModuleAlpha& each = *adapter.add_alpha_pattern();
      each.set_modules(modules);
      each.set_alpha(alpha);
    }
  }
}

}  // namespace fttrain

#include "model/linears/adapter_modules.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/linears/expert_factors.h"
#include "model/linears/python_regex.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

namespace {

bool EndsWithPart(const std::string& module, const std::string& part) {
  return module.size() > part.size() && module.ends_with(part) &&
         module[module.size() - part.size() - 1] == '.';
}

bool IsNamed(const std::vector<std::string>& names, const std::string& module) {
  return absl::c_any_of(
      names, [&](const std::string& name) { return module == name || EndsWithPart(module, name); });
}

absl::StatusOr<bool> Matches(const std::string& regex, const std::string& module) {
  FT_ASSIGN_OR_RETURN(const PythonRegex compiled, PythonRegex::Compile(regex));
  return compiled.FullMatch(module);
}

absl::StatusOr<bool> Means(const ModuleNames& modules, const std::string& module) {
  if (!modules.regex.empty()) return Matches(modules.regex, module);
  return IsNamed(modules.names, module);
}

// The number of the module's layer.
absl::StatusOr<std::optional<int64_t>> LayerOf(const AdapterForm& form, const std::string& module) {
  std::vector<std::string> regexes;
  for (const std::string& pattern : form.layers_pattern) {
    regexes.push_back(absl::StrCat("(?:^|.*?\\.)", pattern, "\\.(?P<idx>\\d+)\\."));
  }
  if (regexes.empty()) regexes.push_back(".*?\\.[^.]*\\.(?P<idx>\\d+)\\.");
  for (const std::string& regex : regexes) {
    FT_ASSIGN_OR_RETURN(const PythonRegex compiled, PythonRegex::Compile(regex));
    FT_ASSIGN_OR_RETURN(const auto digits, compiled.GroupOfMatch(module, "idx"));
    int64_t layer = 0;
    if (digits && absl::SimpleAtoi(*digits, &layer)) return layer;
  }
  return std::nullopt;
}

absl::StatusOr<bool> Selects(const AdapterForm& form, const std::string& module) {
  FT_ASSIGN_OR_RETURN(const bool excluded, Means(form.exclude_modules, module));
  if (excluded) return false;
  const ModuleNames& targets = form.target_modules;
  if (!targets.regex.empty()) return Matches(targets.regex, module);
  if (absl::c_linear_search(targets.names, module)) return true;
  if (!targets.AllLinear() && !IsNamed(targets.names, module)) return false;
  if (form.layers_to_transform.empty()) return true;
  FT_ASSIGN_OR_RETURN(const auto layer, LayerOf(form, module));
  return layer && absl::c_linear_search(form.layers_to_transform, *layer);
}

// Whether a key of rank_pattern or alpha_pattern is for the module.
absl::StatusOr<bool> KeyMatches(const std::string& key, const std::string& module) {
  const bool plain = absl::c_all_of(
      key, [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.'; });
  if (!plain) return Matches(absl::StrCat("(.*\\.)?(", key, ")$"), module);
  // The same without a compilation: some adapters have a key for each of hundreds of modules.
  if (key.size() > module.size()) return false;
  const size_t begin = module.size() - key.size();
  if (begin > 0 && module[begin - 1] != '.') return false;
  return std::equal(key.begin(), key.end(), module.begin() + static_cast<std::ptrdiff_t>(begin),
                    [](char pattern, char c) { return pattern == '.' || pattern == c; });
}

template <typename T>
absl::StatusOr<T> ValueOn(const std::vector<std::pair<std::string, T>>& patterns,
                          const std::string& module, T otherwise) {
  for (const auto& [key, value] : patterns) {
    FT_ASSIGN_OR_RETURN(const bool matches, KeyMatches(key, module));
    if (matches) return value;
  }
  return otherwise;
}

// Whether PEFT 0.21 takes all-linear for what experts and their router have together: of models of
// which transformers makes that when it reads them, not where files have it so.
bool AllLinearIsUnclear(const ModelSpec& model) {
  return HasExperts(model) && !HasStackedExperts(model);
}

// Of a module or parameter that has one.
absl::StatusOr<std::optional<LowRank>> LowRankOf(const AdapterForm& form, const std::string& name) {
  FT_ASSIGN_OR_RETURN(const int64_t r, ValueOn(form.rank_pattern, name, form.r));
  FT_ASSIGN_OR_RETURN(const double alpha, ValueOn(form.alpha_pattern, name, form.alpha));
  const auto rank = static_cast<double>(r);
  return LowRank{r, alpha / (form.use_rslora ? std::sqrt(rank) : rank)};
}

// Every one of target_parameters must mean something.
absl::Status CheckParameters(const ModelSpec& model, const AdapterForm& form,
                             const std::string& where) {
  if (form.target_parameters.empty()) return absl::OkStatus();
  const std::vector<LinearSpec> parameters = ExpertParameters(model);
  const auto fail = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": target_parameters ", what));
  };
  if (parameters.empty()) return fail("are experts', of which this model has none");
  for (const std::string& name : form.target_parameters) {
    const bool means = absl::c_any_of(parameters, [&](const LinearSpec& linear) {
      return IsNamed({name}, linear.stack->tensor);
    });
    if (means) continue;
    return fail(absl::StrCat("[", Printable(name),
                             "] means no parameter of experts of this model; choose from "
                             "mlp.experts.gate_up_proj, mlp.experts.down_proj"));
  }
  if (form.dropout > 0) return fail("have no dropout, which PEFT does not have of parameters");
  for (const LinearSpec& linear : parameters) {
    FT_RETURN_IF_ERROR(LowRankOnParameter(form, linear.stack->tensor).status());
  }
  return absl::OkStatus();
}

// The remedy that ends a refusal of target_modules.
std::string Choices(const ModelSpec& model) {
  return absl::StrCat("; choose from ", absl::StrJoin(LinearLeaves(model), ", "),
                      AllLinearIsUnclear(model) ? "" : ", or all-linear");
}

// What a selection has beside target_modules.
std::string Restrictions(const AdapterForm& form) {
  std::string text;
  if (!form.exclude_modules.empty()) {
    absl::StrAppend(&text, " without exclude_modules ", ToString(form.exclude_modules));
  }
  if (!form.layers_to_transform.empty()) {
    absl::StrAppend(&text, " in layers_to_transform [",
                    absl::StrJoin(form.layers_to_transform, ", "), "]");
  }
  return text;
}

absl::Status At(const std::string& where, const char* key, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", key, " ", message));
}

absl::StatusOr<bool> IsOnSome(const ModuleNames& modules, const std::vector<std::string>& all) {
  for (const std::string& module : all) {
    FT_ASSIGN_OR_RETURN(const bool means, Means(modules, module));
    if (means) return true;
  }
  return false;
}

template <typename T>
absl::Status CheckKeys(const std::vector<std::pair<std::string, T>>& patterns,
                       const std::vector<std::string>& adapted, const std::string& where,
                       const char* name) {
  for (const auto& [key, value] : patterns) {
    bool used = false;
    for (const std::string& module : adapted) {
      FT_ASSIGN_OR_RETURN(const bool matches, KeyMatches(key, module));
      used |= matches;
    }
    if (!used)
      return At(where, name,
                absl::StrCat(Printable(key), " matches no adapted module or parameter"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<LowRank>> LowRankOn(const AdapterForm& form,
                                                 const std::string& module) {
  FT_ASSIGN_OR_RETURN(const bool selected, Selects(form, module));
  if (!selected) return std::nullopt;
  return LowRankOf(form, module);
}

absl::StatusOr<std::optional<LowRank>> LowRankOnParameter(const AdapterForm& form,
                                                          const std::string& parameter) {
  if (!IsNamed(form.target_parameters, parameter)) return std::nullopt;
  return LowRankOf(form, parameter);
}

absl::StatusOr<std::vector<std::string>> AdaptedModules(const ModelSpec& model,
                                                        const AdapterForm& form) {
  std::vector<std::string> adapted;
  for (std::string& module : LinearModules(model)) {
    FT_ASSIGN_OR_RETURN(const auto low_rank, LowRankOn(form, module));
    if (low_rank) adapted.push_back(std::move(module));
  }
  return adapted;
}

absl::Status CheckAdapter(const ModelSpec& model, const AdapterForm& form,
                          const std::string& where) {
  const ModuleNames& targets = form.target_modules;
  FT_RETURN_IF_ERROR(CheckParameters(model, form, where));
  const bool parameters_alone = targets.empty() && !form.target_parameters.empty();
  if (parameters_alone) return absl::OkStatus();
  if (targets.empty()) return At(where, "target_modules", "is empty: name modules, or all-linear");
  if (targets.AllLinear() && AllLinearIsUnclear(model)) {
    return At(where, "target_modules",
              "all-linear: of a model with experts PEFT adapts what they and their router have "
              "together, and no dense layer beside them, which is not done here (of experts "
              "adapter.target_parameters does it)" +
                  Choices(model));
  }
  const auto adapted = AdaptedModules(model, form);
  if (!adapted.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", adapted.status().message()));
  }
  for (const std::string& module : OtherModules(model)) {
    FT_ASSIGN_OR_RETURN(const bool selected, Selects(form, module));
    if (!selected || targets.AllLinear()) continue;
    return At(where, "target_modules",
              absl::StrCat(ToString(targets), ": ", module, " cannot be adapted here",
                           ReasonOfName(model, module), Choices(model)));
  }
  if (!adapted->empty()) return absl::OkStatus();
  return At(where, "target_modules",
            absl::StrCat(ToString(targets), Restrictions(form), " means no linear module of this ",
                         "model's ", model.num_layers(), " layers", Choices(model)));
}

absl::Status CheckAdapterEntries(const ModelSpec& model, const AdapterForm& form,
                                 const std::string& where) {
  std::vector<std::string> all = LinearModules(model);
  for (const std::string& name : form.target_modules.names) {
    if (form.target_modules.AllLinear()) break;
    FT_ASSIGN_OR_RETURN(const bool used, IsOnSome({{name}}, all));
    if (used) continue;
    return At(where, "target_modules",
              absl::StrCat(Printable(name), " is no linear module of this model", Choices(model)));
  }
  for (const int64_t layer : form.layers_to_transform) {
    if (layer < model.num_layers()) continue;
    return At(
        where, "layers_to_transform",
        absl::StrCat(layer, ": the model has ", model.num_layers(), " layers, the first is 0"));
  }
  FT_ASSIGN_OR_RETURN(std::vector<std::string> adapted, AdaptedModules(model, form));
  for (const LinearSpec& linear : ExpertParameters(model)) {
    const std::string& parameter = linear.stack->tensor;
    FT_ASSIGN_OR_RETURN(const auto low_rank, LowRankOnParameter(form, parameter));
    if (low_rank) adapted.push_back(parameter);
  }
  FT_RETURN_IF_ERROR(CheckKeys(form.rank_pattern, adapted, where, "rank_pattern"));
  FT_RETURN_IF_ERROR(CheckKeys(form.alpha_pattern, adapted, where, "alpha_pattern"));
  absl::c_copy(OtherModules(model), std::back_inserter(all));
  std::vector<ModuleNames> excluded;
  for (const std::string& name : form.exclude_modules.names) excluded.push_back({{name}});
  if (!form.exclude_modules.regex.empty()) excluded.push_back(form.exclude_modules);
  for (const ModuleNames& each : excluded) {
    FT_ASSIGN_OR_RETURN(const bool used, IsOnSome(each, all));
    if (used) continue;
    return At(where, "exclude_modules", ToString(each) + " means no module of this model");
  }
  return absl::OkStatus();
}

}  // namespace fttrain

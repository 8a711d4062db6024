// An adapter as data (LoRA, Hu et al., arXiv:2106.09685; rsLoRA's scale, arXiv:2312.03732): what
// each linear has is a function of its full name, in PEFT's words and by PEFT's rules. No
// LibTorch here, so that who reads one from a file needs none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fttrain {

// Modules by their full names (model.layers.0.self_attn.q_proj).
struct ModuleNames {
  // Those whose name is one of these or ends with "." and one of these: q_proj, self_attn.q_proj,
  // layers.3.mlp.up_proj.
  std::vector<std::string> names = {};
  std::string regex = {};  // instead: those that it matches whole (python_regex.h)

  bool empty() const { return names.empty() && regex.empty(); }
  // "all-linear" alone: every linear of the layers. For target_modules.
  bool AllLinear() const { return names.size() == 1 && names[0] == kAllLinear; }
  friend bool operator==(const ModuleNames&, const ModuleNames&) = default;

  static constexpr char kAllLinear[] = "all-linear";
};

// Of one linear: s B A, A [r, in], B [out, r].
struct LowRank {
  int64_t r = 0;
  double scale = 0.0;  // s = alpha / r, with use_rslora alpha / sqrt(r)
};

struct AdapterForm {
  int64_t r = 16;
  double alpha = 32.0;
  double dropout = 0.0;  // of the adapter's input, in [0, 1)
  bool use_rslora = false;
  ModuleNames target_modules = {};
  std::string base_model_name_or_path = {};  // for PEFT's file; may be empty
  ModuleNames exclude_modules = {};
  // Unless empty: of the modules that target_modules lists by parts of names, those with these
  // numbers (the first in a name; with layers_pattern the one behind such a list of layers, regular
  // expressions).
  std::vector<int64_t> layers_to_transform = {};
  std::vector<std::string> layers_pattern = {};
  // r and alpha of the modules whose name, or its end from a "." on, a key matches, a regular
  // expression; the first one counts.
  std::vector<std::pair<std::string, int64_t>> rank_pattern = {};
  std::vector<std::pair<std::string, double>> alpha_pattern = {};
  // Parameters of several experts together (LinearSpec::Stack) whose name is one of these or ends
  // with "." and one of these: mlp.experts.down_proj. Each expert has its own factors of rank r.
  std::vector<std::string> target_parameters = {};

  // The adapter of a linear, nothing if it has none. Throws c10::Error for a regular expression
  // that CheckAdapter (adapter_modules.h) refuses.
  std::optional<LowRank> On(const std::string& module) const;
  // Of each expert of such a parameter, nothing if it is no target.
  std::optional<LowRank> OnParameter(const std::string& parameter) const;
};

}  // namespace fttrain

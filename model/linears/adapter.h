// Low-rank adapters as data (LoRA, Hu et al., arXiv:2106.09685; rsLoRA's scale, arXiv:2312.03732).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "parallel/layout/param.h"

namespace fttrain {

struct AdapterForm {
  int64_t r = 16;
  double alpha = 32.0;
  double dropout = 0.0;  // of the adapter's input, in [0, 1)
  bool use_rslora = false;
  std::vector<std::string> target_modules = {};  // leaf names (q_proj), or just "all-linear"
  std::string base_model_name_or_path = {};      // for PEFT's file; may be empty

  double Scale() const;                          // alpha / r, with use_rslora alpha / sqrt(r)
  bool Adapts(const std::string& module) const;  // target_modules as resolved by the model
};

// Names and global shapes of the factors that the form gives a model's linears, in the model's
// order. InvalidArgument of ResolveTargetModules.
absl::StatusOr<std::vector<TensorSpec>> AdapterTensors(const ModelSpec& model, AdapterForm form);

// A: kaiming uniform (a = sqrt 5: U(-1/sqrt(in), 1/sqrt(in))), B: zero, as PEFT initialises them.
// Element values depend on (seed, tensor name, global index) alone. Touches only the adapters'
// factors among `parameters`.
void InitializeAdapters(const std::vector<Parameter*>& parameters, uint64_t seed);

}  // namespace fttrain

// LoRA adapters in PEFT's form: a folder of adapter_config.json and adapter_model.safetensors. What
// PEFT can say and we cannot do is refused by file and key.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

struct AdapterConfig {
  int64_t r = 8;
  double alpha = 8.0;  // the adapter is scaled by alpha / r, with use_rslora by alpha / sqrt(r)
  double dropout = 0.0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;  // module names or suffixes, or just "all-linear"
  std::string base_model_name_or_path;      // may be empty
};

// "base_model.model.MODULE.lora_A.weight" [r, in] and "...lora_B.weight" [out, r]; MODULE is the
// Hugging Face path, e.g. model.layers.0.self_attn.q_proj.
std::string LoraAName(const std::string& module);
std::string LoraBName(const std::string& module);

struct AdapterTensor {
  std::string name;  // LoraAName or LoraBName
  at::Tensor value;  // whole, any floating dtype and device; written as F32
};

// Creates FOLDER if needed and writes both files. They are complete on disk before either is put in
// place; an error (disk full, ...) leaves what was there. One process calls it.
absl::Status WriteAdapter(const std::string& folder, const AdapterConfig& config,
                          const std::vector<AdapterTensor>& tensors);

// Reads adapter_config.json. InvalidArgument naming file and key for other methods than plain LoRA:
// DoRA, rank_pattern, alpha_pattern, bias, modules_to_save, initialisations that change the base,
// ... A regular expression as target_modules is replaced by the last name parts of the modules in
// the tensor file.
absl::StatusOr<AdapterConfig> ReadAdapterConfig(const std::string& folder);

// The tensors, to be read with LoadSlice under LoraAName and LoraBName.
absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapterTensors(const std::string& folder);

// InvalidArgument naming both values where a saved adapter is not the one the run asks for: r,
// alpha, use_rslora, and target_modules as sets (unless either is "all-linear": the tensors then
// tell). Dropout and base path may differ.
absl::Status CompareAdapterConfigs(const std::string& folder, const AdapterConfig& saved,
                                   const AdapterConfig& run);

}  // namespace fttrain

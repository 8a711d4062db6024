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
#include "model/linears/adapter.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

struct AdapterTensor {
  std::string name;  // PeftName
  at::Tensor value;  // whole, any floating dtype and device; written as F32
};

// Creates FOLDER if needed and writes both files. They are complete on disk before either is put in
// place; an error (disk full, ...) leaves what was there. One process calls it.
absl::Status WriteAdapter(const std::string& folder, const AdapterForm& config,
                          const std::vector<AdapterTensor>& tensors);

// Reads adapter_config.json. InvalidArgument naming file and key for other methods than plain LoRA:
// DoRA, rank_pattern, alpha_pattern, bias, modules_to_save, initialisations that change the base,
// ... A regular expression as target_modules is replaced by the last name parts of the modules in
// the tensor file.
absl::StatusOr<AdapterForm> ReadAdapterConfig(const std::string& folder);

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapterTensors(const std::string& folder);
// The same, checked to be those that the form gives the model's linears (AdapterTensors).
absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapter(const std::string& folder,
                                                               const AdapterForm& form,
                                                               const ModelSpec& model);

// InvalidArgument naming both values where a saved adapter is not the one the run asks for: r,
// alpha, use_rslora, and target_modules as sets (unless either is "all-linear": the tensors then
// tell). Dropout and base path may differ.
absl::Status CompareAdapterConfigs(const std::string& folder, const AdapterForm& saved,
                                   const AdapterForm& run);

}  // namespace fttrain

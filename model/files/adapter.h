// LoRA adapters in PEFT's form: a folder of adapter_config.json (adapter_config.h) and
// adapter_model.safetensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/linears/adapter.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

inline constexpr char kAdapterTensorFile[] = "adapter_model.safetensors";

struct AdapterTensor {
  std::string name;  // PeftName
  at::Tensor value;  // whole, any floating dtype and device; written as F32
};

// Creates FOLDER if needed and writes both files. They are complete on disk before either is put in
// place; an error (disk full, ...) leaves what was there. One process calls it.
absl::Status WriteAdapter(const std::string& folder, const AdapterForm& form,
                          const std::vector<AdapterTensor>& tensors);

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapterTensors(const std::string& folder);
// The same, checked to be those that the form, which passes CheckAdapter, gives the model's
// linears (AdapterTensors). InvalidArgument says which modules the files are on and which the form
// means.
absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenAdapter(const std::string& folder,
                                                               const AdapterForm& form,
                                                               const ModelSpec& model);

// A whole adapter for a model, checked against it.
struct AdapterFolder {
  AdapterForm form;
  std::map<std::string, LowRank> modules;  // what each adapted linear has
  std::unique_ptr<SafetensorsFolder> tensors;
  std::vector<int64_t> end_ids;  // where its training taught answers to end
};
absl::StatusOr<AdapterFolder> OpenAdapterFolder(const std::string& folder, const ModelSpec& model);

// InvalidArgument naming both values where a saved adapter is not the one that the run asks for:
// where r or scale of some linear of the model differ. Dropout and base path may differ, and so may
// the words for the same. Both forms pass CheckAdapter.
absl::Status CompareAdapters(const std::string& folder, const AdapterForm& saved,
                             const AdapterForm& run, const ModelSpec& model);

}  // namespace fttrain

// Writes a trained model as a Hugging Face folder, one tensor at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "model/files/folder_writer.h"

namespace fttrain {

// One process owns it: the others only help to gather each tensor. Holds one tensor's piece at a
// time. The folder is FolderWriter's.
class ModelExporter {
 public:
  // `tensors` is ModelTensors(model): no lm_head.weight when tied. config.json is the base's with
  // the new dtype: float32, bfloat16, float16 or float64. InvalidArgument if folder is base_folder.
  static absl::StatusOr<std::unique_ptr<ModelExporter>> Create(
      const std::string& base_folder, const std::string& folder,
      const std::vector<TensorSpec>& tensors, at::ScalarType dtype,
      int64_t max_shard_bytes = FolderWriter::kShardBytes);

  // The next tensor in the order of `tensors`, whole, of any floating dtype and device.
  // FailedPrecondition if it is not the next one's name and shape.
  absl::Status Append(std::string_view name, const at::Tensor& value);
  absl::Status Finish();

 private:
  ModelExporter() = default;

  std::string folder_;
  at::ScalarType dtype_ = at::kFloat;
  std::unique_ptr<FolderWriter> writer_;
};

}  // namespace fttrain

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
#include "model/model_config.h"
#include "runtime/safetensors.h"

namespace fttrain {

// One process owns it: the others only help to gather each tensor. Holds one tensor's piece at a
// time. Files are prepared in FOLDER.tmp-<pid>; Finish() moves them in, weights of an older export
// are removed first, so the folder never shows a mixture.
class ModelExporter {
 public:
  // Plans the shards: model.safetensors if all fits max_shard_bytes, else
  // model-00001-of-0000N.safetensors and an index. `tensors` is ModelTensors(config): no
  // lm_head.weight when tied. config.json (with the new dtype), generation_config.json and the
  // tokenizer's files are copied from base_folder. dtype: float32, bfloat16, float16 or float64.
  // InvalidArgument if folder is base_folder.
  static absl::StatusOr<std::unique_ptr<ModelExporter>> Create(
      const std::string& base_folder, const std::string& folder, std::vector<TensorSpec> tensors,
      at::ScalarType dtype, int64_t max_shard_bytes = 5'000'000'000);
  ~ModelExporter();  // removes the temporary folder unless Finish() succeeded
  ModelExporter(const ModelExporter&) = delete;
  ModelExporter& operator=(const ModelExporter&) = delete;

  // The next tensor in the order of `tensors`, whole, of any floating dtype and device.
  // FailedPrecondition if it is not the next one's name and shape.
  absl::Status Append(std::string_view name, const at::Tensor& value);
  absl::Status Finish();

 private:
  ModelExporter() = default;
  absl::Status OpenShard();
  absl::Status CopyBaseFiles(const std::string& base_folder);
  absl::Status WriteIndex();
  std::string ShardName(size_t shard) const;

  std::string folder_, temporary_folder_;
  at::ScalarType dtype_ = at::kFloat;
  std::vector<TensorSpec> tensors_;
  std::vector<size_t> shard_begins_;  // index of each shard's first tensor
  size_t next_ = 0;                   // tensor
  size_t next_shard_ = 0;
  std::unique_ptr<SafetensorsWriter> writer_;
};

}  // namespace fttrain

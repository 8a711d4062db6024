// Writes a Hugging Face model folder as a stream of bytes: sharded safetensors with an index,
// config.json, and the files that the base's folder has beside its weights.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

// One process owns it. Files are prepared in FOLDER.tmp-<pid>, or in FOLDER/.tmp-<pid> if FOLDER is
// there; Finish() moves them in, weights of an older export are removed first, so the folder never
// shows a mixture and is not created before.
class FolderWriter {
 public:
  static constexpr int64_t kShardBytes = 5'000'000'000;
  // Plans the shards: model.safetensors if all fits max_shard_bytes, else
  // model-00001-of-0000N.safetensors and an index; tensors that belong to one matrix (NAME and
  // NAME.anything) stay in one shard. generation_config.json and the tokenizer's files are copied
  // from base_folder. InvalidArgument if folder is base_folder.
  static absl::StatusOr<std::unique_ptr<FolderWriter>> Create(
      const std::string& base_folder, const std::string& folder,
      std::vector<SafetensorsWriter::Tensor> tensors, const std::string& config_json,
      int64_t max_shard_bytes = kShardBytes);
  ~FolderWriter();  // removes the temporary folder unless Finish() succeeded
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  // The declared tensors' bytes, one tensor after another, in pieces that end with a tensor's end.
  absl::Status Append(const void* data, int64_t size_bytes);
  // AppendTensor (tensor_io.h) of all of `value`.
  absl::Status Append(const at::Tensor& value, at::ScalarType to);
  // A text file of the folder, in place of the base's of that name. Before Finish().
  absl::Status PutFile(const std::string& name, const std::string& contents);
  absl::Status Finish();  // FailedPrecondition unless exactly all declared bytes were appended

  // Index of the tensor whose bytes come next; the number of tensors when all were given.
  size_t next() const { return next_; }
  const std::vector<SafetensorsWriter::Tensor>& tensors() const { return tensors_; }
  // Of all tensors, and how many of them were appended.
  int64_t total_bytes() const { return total_bytes_; }
  int64_t written_bytes() const { return written_bytes_; }

 private:
  FolderWriter() = default;
  absl::Status OpenShard();
  absl::Status CopyBaseFiles(const std::string& base_folder);
  absl::Status WriteIndex();
  std::string ShardName(size_t shard) const;

  std::string folder_, temporary_folder_;
  std::vector<SafetensorsWriter::Tensor> tensors_;
  std::vector<size_t> shard_begins_;  // index of each shard's first tensor
  size_t next_ = 0;                   // tensor
  int64_t left_bytes_ = 0;            // of that tensor
  int64_t total_bytes_ = 0, written_bytes_ = 0;
  size_t next_shard_ = 0;
  std::unique_ptr<SafetensorsWriter> writer_;
};

// What a folder in a floating dtype holds a tensor in: some are in float32 whatever that is, some
// where it is narrower.
at::ScalarType DtypeInFolder(const TensorSpec& tensor, at::ScalarType folder);

// A folder that holds `tensors` (ModelTensors) in a floating dtype: each is appended whole, in
// their order, as DtypeInFolder. config.json is the base's with the new dtype. InvalidArgument for
// another dtype, else as FolderWriter::Create.
absl::StatusOr<std::unique_ptr<FolderWriter>> CreateModelFolder(
    const std::string& base_folder, const std::string& folder,
    const std::vector<TensorSpec>& tensors, at::ScalarType dtype,
    int64_t max_shard_bytes = FolderWriter::kShardBytes);

// Reads FOLDER/config.json and returns it with "dtype" (transformers 5) or "torch_dtype" (4) set,
// and quantization_config replaced by the given JSON text, or removed if that is empty.
absl::StatusOr<std::string> ConfigWith(const std::string& folder, const std::string& dtype,
                                       const std::string& quantization);

}  // namespace fttrain

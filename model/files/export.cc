#include "model/files/export.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/files/tensor_io.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

template <typename Shape>
std::string NameAndShape(std::string_view name, const Shape& shape) {
  return absl::StrCat(Printable(name), " [", absl::StrJoin(shape, ", "), "]");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelExporter>> ModelExporter::Create(
    const std::string& base_folder, const std::string& folder,
    const std::vector<TensorSpec>& tensors, at::ScalarType dtype, int64_t max_shard_bytes) {
  const std::optional<SafetensorsDtype> stored = FloatDtypeOf(dtype);
  if (!stored) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": an export needs a floating dtype"));
  }
  std::vector<SafetensorsWriter::Tensor> declared;
  for (const TensorSpec& tensor : tensors) {
    declared.push_back({tensor.name, *stored, tensor.shape});
  }
  std::unique_ptr<ModelExporter> exporter(new ModelExporter());
  exporter->folder_ = folder;
  exporter->dtype_ = dtype;
  FT_ASSIGN_OR_RETURN(const std::string config, ConfigWith(base_folder, DtypeWord(dtype), ""));
  FT_ASSIGN_OR_RETURN(
      exporter->writer_,
      FolderWriter::Create(base_folder, folder, std::move(declared), config, max_shard_bytes));
  return exporter;
}

absl::Status ModelExporter::Append(std::string_view name, const at::Tensor& value) {
  const size_t next = writer_->next();
  const auto& tensors = writer_->tensors();
  if (next == tensors.size() || tensors[next].name != name ||
      value.sizes() != at::IntArrayRef(tensors[next].shape)) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder_, ": got ", NameAndShape(name, value.sizes()), ", expected ",
        next == tensors.size() ? "no more tensors"
                               : NameAndShape(tensors[next].name, tensors[next].shape)));
  }
  return writer_->Append(value, dtype_);
}

absl::Status ModelExporter::Finish() { return writer_->Finish(); }

}  // namespace fttrain

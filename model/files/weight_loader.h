// Reads slices of weights straight into a rank's tensors, converted on the way. A rank never holds
// more than its slice and pieces on their way (LoadPieceBytes): for a GPU two in pinned host memory
// and, where the dtype changes, as much there.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

// Elements [offset, offset + extent) along dim of a tensor of the folder (dim -1: all of it; offset
// and extent are ignored), as a new contiguous tensor of dtype `to` on `device`, booked as
// kWeights. Reads only the slice's bytes. From F64, F32, F16 or BF16 to any floating dtype; rounds
// to nearest even. NotFound for an absent tensor; InvalidArgument for another shape than `shape`
// (both are named) or dtype; DataLoss if the file is shorter than its header says. Local to the
// rank.
absl::StatusOr<at::Tensor> LoadSlice(const SafetensorsFolder& folder, std::string_view name,
                                     const std::vector<int64_t>& shape, int dim, int64_t offset,
                                     int64_t extent, at::ScalarType to, at::Device device);

// The same into an existing contiguous tensor of the slice's shape, e.g. a parameter's storage or
// the first rows of a padded one. On a GPU the last copies are only enqueued when it returns.
absl::Status LoadSliceInto(const SafetensorsFolder& folder, std::string_view name,
                           const std::vector<int64_t>& shape, int dim, int64_t offset,
                           int64_t extent, at::Tensor destination);

// NotFound, or InvalidArgument unless the tensor has this shape and a floating dtype. Reads
// nothing.
absl::Status CheckFloatTensor(const SafetensorsFolder& folder, std::string_view name,
                              const std::vector<int64_t>& shape);

// Compares names, shapes and dtypes of the files with what the model needs, before anything is
// read. One InvalidArgument lists every missing, unexpected and mis-shaped tensor (the first 20 of
// each and the count). Tensors named in `ignored` and cached rotary frequencies may be there or
// not.
absl::Status CheckTensors(const SafetensorsFolder& folder, const std::vector<TensorSpec>& expected,
                          const std::vector<std::string>& ignored = {});

// CheckTensors for a model folder: ModelTensors(model), beside them what begins with one of the
// model's unread_prefixes; a tied model's files may hold an lm_head.weight of the embedding's
// values, which are then compared (transformers unties such a model where they differ; here that is
// InvalidArgument). Matrices of a quantised folder are checked as ReadNf4Folder does.
absl::Status CheckModelTensors(const SafetensorsFolder& folder, const ModelSpec& model);

}  // namespace fttrain

// Stacked experts (LinearSpec::Stack) whose matrices a folder holds as MXFP4 (OCP Microscaling
// Formats 1.0), as gpt-oss' own files do. In place of TENSOR [count, in, columns] stand
//   TENSOR_blocks, uint8 [count, columns, in / 32, 16]: a byte's low bits are the first of two;
//   TENSOR_scales, uint8 [count, columns, in / 32]: of 32 values 2^(scale - 127).
// They are read as the bfloat16 values that transformers makes of them, which hold them exactly.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/config/spec.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

bool IsMxfp4Tensor(const SafetensorsFolder& folder, std::string_view tensor);

// The stacked matrices of the model that the folder holds so.
std::vector<TensorSpec> Mxfp4Tensors(const SafetensorsFolder& folder, const ModelSpec& model);
// Names of all that belongs to one.
std::vector<std::string> Mxfp4TensorNames(const std::string& tensor);
// NotFound or InvalidArgument unless both parts are there, of the dtype and the shapes that belong
// to `shape`, [count, in, columns].
absl::Status CheckMxfp4Tensor(const SafetensorsFolder& folder, const std::string& tensor,
                              const std::vector<int64_t>& shape);

// Columns first, first + step, ... of one of the stack, as rows of `values`: bfloat16 [n, in],
// contiguous, in host memory. Checks the tensor. DataLoss if the file is shorter than its header
// says.
absl::Status ReadMxfp4(const SafetensorsFolder& folder, const std::string& tensor,
                       const std::vector<int64_t>& shape, int64_t index, int64_t first,
                       int64_t step, at::Tensor values);

}  // namespace fttrain

// Between safetensors and ATen.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

// Bytes of the buffers through which tensors are converted on their way to files.
inline constexpr int64_t kStagingBytes = int64_t{8} << 20;
inline constexpr int64_t kStagingElements = kStagingBytes / 8;  // of any floating dtype

// Floating dtypes only; nothing for others.
std::optional<at::ScalarType> FloatTypeOf(SafetensorsDtype dtype);
std::optional<SafetensorsDtype> FloatDtypeOf(at::ScalarType type);

// As configs and quant states spell it: float32, bfloat16, float16, float64.
std::string DtypeWord(at::ScalarType dtype);

// Hands the bytes of all of `value`, of any floating dtype and device, as dtype `to` (or kByte as
// it is) to `append`, in pieces of at most kStagingBytes.
absl::Status AppendTensor(
    const at::Tensor& value, at::ScalarType to,
    absl::FunctionRef<absl::Status(const void* data, int64_t size_bytes)> append);

}  // namespace fttrain

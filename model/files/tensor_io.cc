#include "model/files/tensor_io.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

struct FloatType {
  SafetensorsDtype file;
  at::ScalarType torch;
  const char* word;
};
constexpr FloatType kFloatTypes[] = {
    {SafetensorsDtype::kF64, at::kDouble, "float64"},
    {SafetensorsDtype::kF32, at::kFloat, "float32"},
    {SafetensorsDtype::kF16, at::kHalf, "float16"},
    {SafetensorsDtype::kBF16, at::kBFloat16, "bfloat16"},
};

}  // namespace

std::optional<at::ScalarType> FloatTypeOf(SafetensorsDtype dtype) {
  for (const FloatType& type : kFloatTypes) {
    if (type.file == dtype) return type.torch;
  }
  return {};
}

std::optional<SafetensorsDtype> FloatDtypeOf(at::ScalarType type) {
  for (const FloatType& known : kFloatTypes) {
    if (known.torch == type) return known.file;
  }
  return {};
}

std::string DtypeWord(at::ScalarType dtype) {
  for (const FloatType& type : kFloatTypes) {
    if (type.torch == dtype) return type.word;
  }
  return "float32";
}

absl::Status AppendTensor(
    const at::Tensor& value, at::ScalarType to,
    absl::FunctionRef<absl::Status(const void* data, int64_t size_bytes)> append) {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor flat = value.detach().contiguous().view({-1});
  for (int64_t begin = 0; begin < flat.numel(); begin += kStagingElements) {
    const int64_t count = std::min(kStagingElements, flat.numel() - begin);
    const at::Tensor piece = flat.narrow(0, begin, count).to(at::kCPU, to);
    FT_RETURN_IF_ERROR(append(piece.data_ptr(), static_cast<int64_t>(piece.nbytes())));
  }
  return absl::OkStatus();
}

}  // namespace fttrain

// What nf4/dequantize.cc and nf4/quantize.cc share: dtypes, the loops of this machine, checks of
// what callers give.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "model/nf4/kernels.h"
#include "model/nf4/nf4.h"

namespace fttrain {

inline Nf4Dtype Nf4DtypeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return Nf4Dtype::kFloat32;
    case at::kBFloat16:
      return Nf4Dtype::kBfloat16;
    case at::kHalf:
      return Nf4Dtype::kFloat16;
    case at::kDouble:
      return Nf4Dtype::kFloat64;
    default:
      TORCH_CHECK(false, "NF4 knows float32, bfloat16, float16 and float64, not ", type);
  }
}

inline const Nf4Kernels& SelectedNf4Kernels() {
  static const Nf4Kernels selected = *UsableNf4Kernels().back();
  return selected;
}

inline void CheckNf4Operand(const char* what, const at::Tensor& x, at::ScalarType type,
                            int64_t count, c10::Device device) {
  TORCH_CHECK(x.defined() && x.scalar_type() == type && x.numel() == count && x.is_contiguous() &&
                  x.device() == device,
              what, ": want ", type, " [", count, "] on ", device, ", got ",
              x.defined() ? x.toString() : std::string("none"), " ",
              x.defined() ? x.sizes() : at::IntArrayRef());
}

inline void CheckNf4Matrix(const char* what, const Nf4Matrix& matrix) {
  TORCH_CHECK(matrix.bytes.defined(), what, ": the matrix has no bytes");
  CheckNf4Operand(what, matrix.bytes, at::kByte, matrix.layout.bytes, matrix.bytes.device());
  TORCH_CHECK(reinterpret_cast<uintptr_t>(matrix.bytes.const_data_ptr()) % 16 == 0, what,
              ": the bytes do not begin at a multiple of 16");
}

}  // namespace fttrain

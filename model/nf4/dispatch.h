// What nf4/dequantize.cc and nf4/quantize.cc share: the loops of this machine, operands of the
// kernels, checks of what callers give.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "model/kernels/dispatch.h"
#include "model/nf4/cuda.h"
#include "model/nf4/kernels.h"
#include "model/nf4/nf4.h"

namespace fttrain {

// Operands of the CPU's loops and of cuda::DequantizeNf4.
Nf4Rectangle RectangleOf(const Nf4Layout& layout, const Range& rows, const Range& columns,
                         const at::Tensor& out);
cuda::Nf4Source CudaSourceOf(const Nf4Matrix& matrix);

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

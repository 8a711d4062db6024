// NF4 matrices of a parameter's slice, made and read whole. That their codes, scales and values are
// bitsandbytes' is nf4_test.cc's.
#pragma once

#include <ATen/ATen.h>

#include "model/nf4/nf4.h"

namespace fttrain {

inline Nf4Matrix EmptyNf4(const ParamSlice& slice, const Nf4Options& options,
                          c10::Device device = at::kCPU) {
  Nf4Matrix matrix{MakeNf4Layout(slice, options), {}};
  matrix.bytes = at::zeros({matrix.layout.bytes}, at::TensorOptions(at::kByte).device(device));
  return matrix;
}

// `slice` of the whole matrix (on the CPU), quantised.
inline Nf4Matrix QuantizedNf4(const at::Tensor& whole, const ParamSlice& slice,
                              const Nf4Options& options) {
  const at::Tensor values = whole.detach().flatten();
  const int64_t count = values.numel();
  const at::Tensor codes = at::zeros({(count + 1) / 2}, at::kByte);
  const at::Tensor absmax =
      at::zeros({(count + options.block_size - 1) / options.block_size}, at::kFloat);
  QuantizeNf4Blocks(values.scalar_type() == at::kDouble ? values.to(at::kFloat) : values,
                    options.block_size, codes, absmax);
  const Nf4Matrix matrix = EmptyNf4(slice, options);
  StoreNf4Codes(matrix, 0, count, codes);
  if (options.double_quant) {
    StoreNf4Scales(matrix, QuantizeAbsmax(absmax));
  } else {
    StoreNf4Absmax(matrix, absmax);
  }
  return matrix;
}

// All of a matrix in `dtype`.
inline at::Tensor DequantizedNf4(const Nf4Matrix& matrix, at::ScalarType dtype = at::kFloat) {
  const at::Tensor values =
      at::empty({matrix.layout.rows, matrix.layout.columns}, matrix.bytes.options().dtype(dtype));
  DequantizeNf4(matrix, {0, matrix.layout.rows}, {0, matrix.layout.columns}, values);
  return values;
}

}  // namespace fttrain

// Products of few rows on the CPU behind matmul.h: a GEMM packs or expands the whole matrix first,
// which for one row costs several times what the product does. Here the matrix is read once, as it
// lies, and summed in float32; an NF4 one by panels of rows, with the same bits.
#pragma once

#include "model/matmul/matmul.h"

namespace fttrain {

// Rows of the result, at most. Training has more, but of experts.
inline constexpr int64_t kFewRows = 16;

// Whether MultiplyFewRows takes the sum: of bfloat16 and float32, on the CPU, with at most kFewRows
// rows, and every right side the transpose of rows (Operand).
bool TakesFewRows(const at::Tensor& out, c10::ArrayRef<MatrixProduct> products);
// As AddProducts.
void MultiplyFewRows(const at::Tensor& out, c10::ArrayRef<MatrixProduct> products, bool accumulate,
                     Bf16Gemm backend);

}  // namespace fttrain

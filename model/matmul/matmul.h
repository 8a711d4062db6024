// Matrix products of linear layers, with every term of a sum in one accumulation: W x, its adapter
// and what is there already are added in the accumulator and rounded once. (By ATen's own GEMM, so
// on CUDA, a bfloat16 sum is rounded after each of its products; a float32 one never is.) Scratch
// is bounded and booked as kWorkspace.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <functional>
#include <optional>
#include <vector>

#include "model/nf4/ahead.h"

namespace fttrain {

// How bfloat16 operands on the CPU are multiplied. kNative: ATen's bfloat16 GEMM. kFloat32: blocks
// of the operands are expanded to float32 (exactly) for a float32 GEMM, faster where the machine
// multiplies bfloat16 slowly or not at all, and no less accurate. Other dtypes and devices always
// use their own GEMM.
enum class Bf16Gemm { kNative, kFloat32 };

// What DefaultBf16Gemm looks at.
struct CpuFeatures {
  bool intel = false;
  bool avx512_bf16 = false;
  bool amx_bf16 = false;  // the processor has it and the operating system lets processes use it
};
const CpuFeatures& ThisCpu();
// kNative with AMX-BF16, or with AVX512_BF16 on a processor not made by Intel (there it has twice
// float32's rate; Intel's has none to spare); else kFloat32.
Bf16Gemm PreferredBf16Gemm(const CpuFeatures& features);
// The preference for this machine, or FTTRAIN_BF16_GEMM=native|float32 (any other value throws
// c10::Error). Decided on the first call.
Bf16Gemm DefaultBf16Gemm();
const char* Bf16GemmName(Bf16Gemm backend);  // "native", "float32"

// The right side of a product, [K, N]: a matrix of any strides (transposes are free), or one stored
// as NF4, or its transpose. Of an NF4 matrix the values are those of DequantizeNf4 in `dtype`; no
// more than a block of them, by the loops of cpu_grouped.h one a thread, exists at a time where a
// float32 GEMM or those run on the CPU, else the whole of it while its product is formed.
class Operand {
 public:
  Operand(at::Tensor dense) : dense_(std::move(dense)) {}  // NOLINT: meant to be implicit
  // [rows, columns] of the matrix. `ahead` (may be null) dequantises it, on CUDA.
  Operand(Nf4Matrix packed, at::ScalarType dtype, Nf4Ahead* ahead = nullptr);
  Operand t() const;
  bool packed() const { return packed_.has_value(); }
  int64_t rows() const;     // K
  int64_t columns() const;  // N
  at::ScalarType dtype() const { return packed() ? dtype_ : dense_.scalar_type(); }
  // The matrix itself, or all of it dequantised.
  at::Tensor Dense() const;
  // Whether its columns are the rows of what is stored, each contiguous.
  bool IsTransposeOfRows() const;
  // What is packed, not transposed.
  const Nf4Matrix& matrix() const { return *packed_; }

 private:
  friend class ExpandedBlocks;
  at::Tensor dense_;
  std::optional<Nf4Matrix> packed_;
  at::ScalarType dtype_ = at::kFloat;
  Nf4Ahead* ahead_ = nullptr;
  bool transposed_ = false;
};

// Whether products with NF4 matrices in `dtype` on a device expand blocks of them (else the whole).
bool ExpandsBlocks(c10::Device device, at::ScalarType dtype, Bf16Gemm backend = DefaultBf16Gemm());

// alpha a b: a [M, K] of any strides.
struct MatrixProduct {
  at::Tensor a;
  Operand b;
  double alpha = 1.0;
};
// Throws c10::Error unless the product is one of out [M, N].
void CheckShapes(const at::Tensor& out, const MatrixProduct& product);

// out [M, N] = (accumulate ? out : 0) + sum of `products` (at least one). On the CPU, bfloat16
// operands and outputs may be mixed with float32 ones (adapter factors, float32 gradients); an
// operand of another dtype than its product's partner is rounded to bfloat16 by kNative and exact
// with kFloat32. Throws c10::Error on a shape mismatch.
void AddProducts(at::Tensor out, c10::ArrayRef<MatrixProduct> products, bool accumulate,
                 Bf16Gemm backend = DefaultBf16Gemm());

// AddProducts of each, in order; every left side and `out` has the same rows, and row by row a sum
// may read what an earlier one gave. Where kFloat32 expands, it does so once for a left side that
// several of them read.
struct ProductSum {
  at::Tensor out;
  std::vector<MatrixProduct> products;
  bool accumulate = false;
};
void AddProductSums(c10::ArrayRef<ProductSum> sums, Bf16Gemm backend = DefaultBf16Gemm());

// What an adapter's factors are multiplied in, and the dtype of their product with a `compute`
// operand: `compute`, but float32 for bfloat16 with kFloat32 on the CPU.
at::ScalarType LowRankDtype(c10::Device device, at::ScalarType compute,
                            Bf16Gemm backend = DefaultBf16Gemm());
// An uninitialised result [M, columns] for products of `a` that are multiplied on (an adapter's
// low-rank factor), of that dtype.
at::Tensor EmptyLowRank(const at::Tensor& a, int64_t columns, Bf16Gemm backend = DefaultBf16Gemm());

// Calls body(first row, some rows of x), all in turn: for several products that sum over the rows
// of x. Where kFloat32 would expand x for each of them, with float32 copies of blocks of rows; else
// once with x.
void ForRows(const at::Tensor& x, const std::function<void(int64_t, const at::Tensor&)>& body,
             Bf16Gemm backend = DefaultBf16Gemm());

}  // namespace fttrain

// Matrix products of linear layers, with every term of a sum in one accumulation: W x, its adapter
// and what is there already are added in the accumulator and rounded once. Scratch is bounded and
// booked as kWorkspace.
#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>

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
// kNative with AMX-BF16, or with AVX512_BF16 on a processor not made by Intel (there it has twice
// float32's rate; Intel's has none to spare); else kFloat32.
Bf16Gemm PreferredBf16Gemm(const CpuFeatures& features);
// The preference for this machine, or FTTRAIN_BF16_GEMM=native|float32 (any other value throws
// c10::Error). Decided on the first call.
Bf16Gemm DefaultBf16Gemm();
const char* Bf16GemmName(Bf16Gemm backend);  // "native", "float32"

// alpha a b: a [M, K], b [K, N], of any strides (transposes are free).
struct MatrixProduct {
  at::Tensor a, b;
  double alpha = 1.0;
};

// out [M, N] = (accumulate ? out : 0) + sum of `products` (at least one). On the CPU, bfloat16
// operands and outputs may be mixed with float32 ones (adapter factors, float32 gradients); an
// operand of another dtype than its product's partner is rounded to bfloat16 by kNative and exact
// with kFloat32. Throws c10::Error on a shape mismatch.
void AddProducts(at::Tensor out, std::initializer_list<MatrixProduct> products, bool accumulate,
                 Bf16Gemm backend = DefaultBf16Gemm());

// The product alone, as a new tensor [M, N] of a's dtype; with kFloat32 and a bfloat16 `a`, left in
// float32 (for products with few columns that are multiplied on: an adapter's low-rank factor).
at::Tensor LowRankProduct(const MatrixProduct& product, Bf16Gemm backend = DefaultBf16Gemm());

// A linear with an adapter, forward (a = x, base = W^T, down = A^T, up = B^T) or to its input
// (a = dy, base = W, down = B, up = A): low = down_scale a down, out = (accumulate ? out : 0) + a
// base + up_scale low up. Returns low [M, R], of LowRankProduct's dtype. The same as the two calls
// above, but `a` is expanded to float32 once.
struct AdaptedProduct {
  at::Tensor a, base, down, up;
  double down_scale = 1.0, up_scale = 1.0;
};
at::Tensor AddAdaptedProduct(at::Tensor out, const AdaptedProduct& product, bool accumulate,
                             Bf16Gemm backend = DefaultBf16Gemm());

}  // namespace fttrain

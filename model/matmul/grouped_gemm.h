// The same sums for each of several experts, whose products with few rows are less work than what
// goes before each: on a GPU cuBLAS forms those of all of them in one call, on a CPU threads share
// pieces of them (cpu_grouped.h).
#pragma once

#include <functional>

#include "model/matmul/matmul.h"
#include "model/matmul/most_grouped.h"

namespace fttrain {

// Products as cublasGemmGroupedBatchedEx takes them, each a group of one: of column-major matrices,
// C [m, n] = alpha op(A) op(B) + beta C, where op transposes or does not. All are bfloat16, sums
// float32. The matrices of C have no element in common.
struct GroupedGemm {
  std::vector<bool> transpose_a, transpose_b;
  std::vector<int> m, n, k, lda, ldb, ldc;
  std::vector<float> alpha, beta;
  std::vector<const void*> a, b;
  std::vector<void*> c;
  int count() const { return static_cast<int>(m.size()); }
};

// Whether a product can be one of them: dense bfloat16, its matrices by rows or by columns, the
// result by rows, all of these on 16 bytes. Pure.
bool CanBeGrouped(const at::Tensor& out, const MatrixProduct& product);
// out = (accumulate ? out : 0) + the product, which can be. Throws c10::Error on a shape mismatch.
void Append(const at::Tensor& out, const MatrixProduct& product, bool accumulate,
            GroupedGemm& gemm);

// AddProductSums of each group. The groups are alike, as many sums of as many products; none reads
// or writes what another writes. Where they are formed together it is product by product, each
// rounded as a single one is. Booked as kWorkspace: on CUDA a table of kMostGrouped products, on a
// CPU what its threads work in.
void AddGroupedSums(c10::ArrayRef<std::vector<ProductSum>> groups);

// For it and its tests: `form` gets the products at one place in the sums of each group, place
// after place, kMostGrouped at most. False where it has done nothing: each is then formed alone.
struct OneProduct {
  const at::Tensor& out;
  const MatrixProduct& product;
  bool accumulate;
};
void ForEachWave(c10::ArrayRef<std::vector<ProductSum>> groups,
                 const std::function<bool(c10::ArrayRef<OneProduct>)>& form,
                 Bf16Gemm backend = DefaultBf16Gemm());

// What it does on CUDA with what `run` does of products that can be grouped: false where it
// cannot, and has done nothing.
using RunGrouped = std::function<bool(const GroupedGemm&)>;
void AddInWaves(c10::ArrayRef<std::vector<ProductSum>> groups, const RunGrouped& run);

}  // namespace fttrain

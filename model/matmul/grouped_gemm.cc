#include "model/matmul/grouped_gemm.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "model/matmul/cpu_grouped.h"
#include "model/matmul/cublas_grouped.h"
#include "runtime/memory/ledger.h"
#include "runtime/memory/rehearsal.h"

namespace fttrain {
namespace {

// How a matrix lies: its rows or its columns are contiguous, `stride` elements apart.
struct Stored {
  bool by_rows;
  int64_t stride;
};
std::optional<Stored> StoredAs(const at::Tensor& x) {
  if (x.stride(1) == 1 && x.stride(0) >= x.size(1)) return Stored{true, x.stride(0)};
  if (x.stride(0) == 1 && x.stride(1) >= x.size(0)) return Stored{false, x.stride(1)};
  return std::nullopt;
}

// cuBLAS's kernels load 16 bytes at a time.
bool IsAligned(const at::Tensor& x, int64_t stride) {
  constexpr uint64_t kBytes = 16;
  const auto at = reinterpret_cast<uintptr_t>(x.const_data_ptr());
  return at % kBytes == 0 && static_cast<uint64_t>(stride) * x.element_size() % kBytes == 0;
}

bool IsTaken(const at::Tensor& x) {
  if (x.scalar_type() != at::kBFloat16 || x.numel() == 0) return false;
  const std::optional<Stored> stored = StoredAs(x);
  return stored && IsAligned(x, stored->stride);
}

}  // namespace

bool CanBeGrouped(const at::Tensor& out, const MatrixProduct& product) {
  return !product.b.packed() && IsTaken(out) && StoredAs(out)->by_rows && IsTaken(product.a) &&
         IsTaken(product.b.Dense());
}

// By rows out = a b is by columns out^T = b^T a^T: A is b, B is a, and what lies by rows is not
// transposed.
void Append(const at::Tensor& out, const MatrixProduct& product, bool accumulate,
            GroupedGemm& gemm) {
  CheckShapes(out, product);
  const at::Tensor& a = product.a;
  const at::Tensor b = product.b.Dense();
  const Stored left = *StoredAs(b), right = *StoredAs(a);
  gemm.transpose_a.push_back(!left.by_rows);
  gemm.transpose_b.push_back(!right.by_rows);
  gemm.m.push_back(static_cast<int>(out.size(1)));
  gemm.n.push_back(static_cast<int>(out.size(0)));
  gemm.k.push_back(static_cast<int>(a.size(1)));
  gemm.lda.push_back(static_cast<int>(left.stride));
  gemm.ldb.push_back(static_cast<int>(right.stride));
  gemm.ldc.push_back(static_cast<int>(out.stride(0)));
  gemm.alpha.push_back(static_cast<float>(product.alpha));
  gemm.beta.push_back(accumulate ? 1.0F : 0.0F);
  gemm.a.push_back(b.const_data_ptr());
  gemm.b.push_back(a.const_data_ptr());
  gemm.c.push_back(out.mutable_data_ptr());
}

void ForEachWave(c10::ArrayRef<std::vector<ProductSum>> groups,
                 const std::function<bool(c10::ArrayRef<OneProduct>)>& form, Bf16Gemm backend) {
  const std::vector<ProductSum>& first = groups.front();
  for (size_t s = 0; s < first.size(); ++s) {
    for (size_t p = 0; p < first[s].products.size(); ++p) {
      std::vector<OneProduct> wave;
      for (const std::vector<ProductSum>& group : groups) {
        TORCH_CHECK(
            group.size() == first.size() && group[s].products.size() == first[s].products.size(),
            "groups of sums are not alike");
        wave.push_back({group[s].out, group[s].products[p], group[s].accumulate || p > 0});
        if (wave.size() < kMostGrouped && &group != &groups.back()) continue;
        if (!form(wave)) {
          for (const OneProduct& one : wave) {
            AddProducts(one.out, {one.product}, one.accumulate, backend);
          }
        }
        wave.clear();
      }
    }
  }
}

void AddInWaves(c10::ArrayRef<std::vector<ProductSum>> groups, const RunGrouped& run) {
  ForEachWave(groups, [&](c10::ArrayRef<OneProduct> wave) {
    GroupedGemm gemm;
    for (const OneProduct& each : wave) {
      if (!CanBeGrouped(each.out, each.product)) return false;
      Append(each.out, each.product, each.accumulate, gemm);
    }
    return run(gemm);
  });
}

namespace {

// A matrix that is dequantised for its product is there until the next one is.
bool HasPacked(const std::vector<ProductSum>& sums) {
  return std::any_of(sums.begin(), sums.end(), [](const ProductSum& sum) {
    return std::any_of(sum.products.begin(), sum.products.end(),
                       [](const MatrixProduct& product) { return product.b.packed(); });
  });
}

void AddEach(c10::ArrayRef<std::vector<ProductSum>> groups) {
  for (const std::vector<ProductSum>& group : groups) AddProductSums(group);
}

void AddGroupedOnCuda(c10::ArrayRef<std::vector<ProductSum>> groups) {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  // Also for one group: a rehearsal, which has no more, asks for what a run does.
  const at::Tensor table =
      at::empty({3 * kMostGrouped}, groups.front().front().out.options().dtype(at::kLong));
  if (groups.size() == 1 || IsRehearsal() || HasPacked(groups.front())) return AddEach(groups);
  AddInWaves(groups, [&](const GroupedGemm& gemm) { return RunOnCublas(gemm, table); });
}

}  // namespace

void AddGroupedSums(c10::ArrayRef<std::vector<ProductSum>> groups) {
  if (groups.empty() || groups.front().empty()) return;
  if (groups.front().front().out.is_cuda()) return AddGroupedOnCuda(groups);
  if (!AddGroupedOnCpu(groups)) AddEach(groups);
}

}  // namespace fttrain

// Compiled with -O3 (CMakeLists.txt) for the vectorised inner loop.
#include "parallel/optimizer/sum_of_squares.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <vector>

#include "parallel/optimizer/sum_of_squares_cuda.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/math/isa.h"
#include "runtime/memory/ledger.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/on_cuda.h"

namespace fttrain {
namespace {

constexpr int64_t kPart = 1 << 14;  // elements whose partial sum one task computes
constexpr int64_t kLanes = 16;      // independent sums, in four AVX2 registers

template <typename T>
FT_ALWAYS_INLINE double PartSum(const T* data, int64_t n) {
  std::array<double, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto x = static_cast<double>(data[i + lane]);
      lanes[static_cast<size_t>(lane)] += x * x;
    }
  }
  double sum = 0.0;
  for (; i < n; ++i) sum += static_cast<double>(data[i]) * static_cast<double>(data[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

template <typename T>
double PartSumBaseline(const T* data, int64_t n) {
  return PartSum(data, n);
}
template <typename T>
FT_TARGET_AVX2 double PartSumAvx2(const T* data, int64_t n) {
  return PartSum(data, n);
}

template <typename T>
double SumOnCpu(const at::Tensor& flat) {
  if (IsRehearsal()) return 0;
  const T* data = flat.const_data_ptr<T>();
  const int64_t n = flat.numel(), parts = CeilDivide(n, kPart);
  const auto part_sum = Runs(Isa::kAvx2) ? PartSumAvx2<T> : PartSumBaseline<T>;
  std::vector<double> sums(static_cast<size_t>(parts));
  at::parallel_for(0, parts, /*grain_size=*/8, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      sums[static_cast<size_t>(b)] = part_sum(data + b * kPart, std::min(kPart, n - b * kPart));
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return total;
}

template <typename T>
void Add(const at::Tensor& flat, const at::Tensor& total) {
  if (flat.is_cpu()) {
    *total.data_ptr<double>() += SumOnCpu<T>(flat);
    return;
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor parts = at::empty({cuda::SumOfSquaresParts(flat.numel())}, total.options());
  TORCH_CHECK(FT_ON_CUDA(flat, AddSumOfSquares<T>, flat.const_data_ptr<T>(), flat.numel(),
                         parts.data_ptr<double>(), total.data_ptr<double>()),
              "no sum of squares for tensors on ", flat.device());
}

}  // namespace

void AddSumOfSquares(const at::Tensor& flat, const at::Tensor& total) {
  const at::ScalarType dtype = flat.scalar_type();
  TORCH_CHECK(
      flat.is_contiguous() && flat.dim() == 1 && (dtype == at::kFloat || dtype == at::kDouble),
      "sum of squares of ", flat.toString(), " ", flat.sizes());
  TORCH_CHECK(
      total.scalar_type() == at::kDouble && total.numel() == 1 && total.device() == flat.device(),
      "sum of squares on ", flat.device(), " into ", total.toString(), " ", total.sizes());
  if (dtype == at::kDouble) return Add<double>(flat, total);
  Add<float>(flat, total);
}

}  // namespace fttrain

// Compiled with -O3 (CMakeLists.txt) for the vectorised inner loop.
#include "parallel/optimizer/sum_of_squares.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <vector>

#include "runtime/math/isa.h"

namespace fttrain {
namespace {

constexpr int64_t kBlock = 1 << 14;  // elements whose partial sum one task computes
// Bounds the float64 copy that ATen makes on other devices.
constexpr int64_t kDeviceBlock = 1 << 24;
constexpr int64_t kLanes = 16;  // independent sums, in four AVX2 registers

template <typename T>
FT_ALWAYS_INLINE double BlockSum(const T* data, int64_t n) {
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
double BlockSumBaseline(const T* data, int64_t n) {
  return BlockSum(data, n);
}
template <typename T>
FT_TARGET_AVX2 double BlockSumAvx2(const T* data, int64_t n) {
  return BlockSum(data, n);
}

template <typename T>
double SumOnCpu(const at::Tensor& flat) {
  const T* data = flat.const_data_ptr<T>();
  const int64_t n = flat.numel(), blocks = (n + kBlock - 1) / kBlock;
  const auto block_sum = Runs(Isa::kAvx2) ? BlockSumAvx2<T> : BlockSumBaseline<T>;
  std::vector<double> sums(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, /*grain_size=*/8, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      sums[static_cast<size_t>(b)] = block_sum(data + b * kBlock, std::min(kBlock, n - b * kBlock));
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

at::Tensor SumOfSquares(const at::Tensor& flat) {
  const auto options = flat.options().dtype(at::kDouble);
  if (flat.device().is_cpu()) {
    TORCH_CHECK(flat.is_contiguous() && flat.dim() == 1, "SumOfSquares: ", flat.sizes());
    return at::scalar_tensor(
        flat.scalar_type() == at::kDouble ? SumOnCpu<double>(flat) : SumOnCpu<float>(flat),
        options);
  }
  at::Tensor total = at::zeros({}, options);
  for (int64_t begin = 0; begin < flat.numel(); begin += kDeviceBlock) {
    const at::Tensor block = flat.narrow(0, begin, std::min(kDeviceBlock, flat.numel() - begin));
    total.add_(at::linalg_vector_norm(block, 2, {}, /*keepdim=*/false, at::kDouble).square_());
  }
  return total;
}

}  // namespace fttrain

// parallel/optimizer/sum_of_squares.cu on a grid of fibers: the CPU's sum to a few roundings of
// float64, the same bits wherever the values lie.
#include "parallel/optimizer/sum_of_squares.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "parallel/optimizer/sum_of_squares_cuda.h"
#include "tests/cuda_on_host/guarded.h"

namespace fttrain::cuda_on_host {
namespace {

template <class T>
double OnGrid(const std::vector<T>& values, Placement placement, double before) {
  const auto n = static_cast<int64_t>(values.size());
  const Guarded<T> buffer("values", values, placement);
  const Guarded<double> parts(
      "parts", std::vector<double>(static_cast<size_t>(cuda::SumOfSquaresParts(n)), 77), placement);
  const Guarded<double> total("total", {before}, placement);
  cuda::AddSumOfSquares(buffer.data(), n, parts.data(), total.data(), nullptr);
  parts.Values();  // nothing beside them was written
  return total.Values()[0];
}

// One element, no pack's, a part's and one beside it, more parts than a block has threads.
template <class T>
void ExpectTheCpusSums() {
  for (const int64_t n : {0, 1, 2, 3, 5, 255, 1027, 1 << 14, (1 << 14) + 1, 100003, 4300001}) {
    SCOPED_TRACE(testing::Message() << n << " values of " << sizeof(T) << " bytes");
    std::vector<T> values = RandomNormals<T>(n, 5);
    const at::Tensor total = at::full({}, 0.25, at::kDouble);
    AddSumOfSquares(at::from_blob(values.data(), {n}, c10::CppTypeToScalarType<T>::value), total);
    const double want = total.item<double>();
    const double got = OnGrid(values, kPlacements[0], 0.25);
    EXPECT_NEAR(got, want, 1e-14 * want);
    if (n > 200000) continue;
    for (const Placement placement : kPlacements) EXPECT_EQ(OnGrid(values, placement, 0.25), got);
  }
}

TEST(SumOfSquaresCudaKernel, EqualsTheCpusWhereverTheValuesLie) {
  ExpectTheCpusSums<float>();
  ExpectTheCpusSums<double>();
}

// In float32 the small ones would be lost, and so would the large one's square.
TEST(SumOfSquaresCudaKernel, AddsUpInFloat64) {
  std::vector<float> values(5000, 1e-2f);
  values[17] = 1e25f;
  const double small = 1e-2f, large = 1e25f;
  EXPECT_EQ(OnGrid(values, kPlacements[0], 0), large * large);
  values[17] = 4096.0f;
  EXPECT_NEAR(OnGrid(values, kPlacements[0], 0), 4096.0 * 4096.0 + 4999 * small * small, 1e-6);
}

}  // namespace
}  // namespace fttrain::cuda_on_host

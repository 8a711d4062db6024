// Inputs and comparisons of the tests that run model/kernels/cuda on a grid of
// fibers against the CPU's loops: sizes that fill no pack, no warp and no block, buffers at the
// edge of their pages, any one of them misaligned.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "model/kernels/cpu/table.h"
#include "model/kernels/cuda/rows.h"
#include "tests/cuda_on_host/element_types.h"
#include "tests/cuda_on_host/guarded.h"

namespace fttrain::cuda_on_host {

// Which buffer of a call is misaligned (-1: none), counted in the order in which they are made.
struct Layout {
  bool at_end;
  int odd;
  int made = 0;
  Placement Next() { return {at_end, made++ != odd}; }
};
constexpr Layout kLayouts[] = {{true, -1}, {false, -1}, {true, 0},
                               {false, 1}, {true, 2},   {true, 4}};

template <class Type>
class CudaKernel : public testing::Test {
 protected:
  using Value = typename Type::T;
  using Sum = typename Type::S;
  static constexpr double kStatisticsRounding = sizeof(Sum) == 8 ? 0x1p-53 : 0x1p-24;

  static size_t Size(int64_t n) { return static_cast<size_t>(n); }
  // Normal numbers, rounded to T.
  std::vector<Value> Random(int64_t count, double scale = 1.0) {
    std::vector<Value> values(Size(count));
    for (Value& v : values) v = Type::Narrow(static_cast<Sum>(scale * normal_(random_)));
    return values;
  }
  std::vector<Value> RandomPositive(int64_t count) {
    std::vector<Value> values = Random(count);
    for (Value& v : values) v = Type::Narrow(std::abs(Type::Wide(v)));
    return values;
  }
  template <class To = double>
  static std::vector<To> Wide(const std::vector<Value>& values) {
    std::vector<To> wide;
    for (const Value v : values) wide.push_back(static_cast<To>(Type::Wide(v)));
    return wide;
  }
  static std::vector<Sum> ToStatistics(const std::vector<double>& values) {
    return std::vector<Sum>(values.begin(), values.end());
  }

  // Within `roundings` to T, and a few of the statistics relative to the largest value or to
  // `terms`, the size of what is added up.
  static void ExpectNear(const char* what, const std::vector<double>& got,
                         const std::vector<double>& want, double roundings, double terms = 0) {
    ASSERT_EQ(got.size(), want.size());
    double largest = terms;
    for (const double w : want) largest = std::max(largest, std::isinf(w) ? 0 : std::abs(w));
    for (size_t i = 0; i < want.size(); ++i) {
      if (got[i] == want[i]) continue;
      const double bound = roundings * Type::kRounding * std::abs(want[i]) * 1.001 +
                           64 * kStatisticsRounding * largest;
      ASSERT_LE(std::abs(got[i] - want[i]), bound) << what << " " << i << ": " << got[i];
    }
  }
  static void ExpectNear(const char* what, const Guarded<Value>& got,
                         const std::vector<double>& want, double roundings, double terms = 0) {
    ExpectNear(what, Wide(got.Values()), want, roundings, terms);
  }
  // The same bits as `want` rounded to T.
  static void ExpectEqual(const Guarded<Value>& got, const std::vector<Sum>& want) {
    const std::vector<Value> values = got.Values();
    for (size_t i = 0; i < want.size(); ++i) {
      const Value rounded = Type::Narrow(want[i]);
      ASSERT_EQ(std::memcmp(&values[i], &rounded, sizeof(Value)), 0) << i << " of " << want.size();
    }
  }

  const RowKernels<double>& cpu_ = CpuKernelsBase().float64;
  std::mt19937 random_{1};
  std::normal_distribution<double> normal_;
};
struct Shape {
  int64_t rows, columns;
};
inline std::string Text(const Shape& s) {
  return std::to_string(s.rows) + " x " + std::to_string(s.columns);
}
}  // namespace fttrain::cuda_on_host

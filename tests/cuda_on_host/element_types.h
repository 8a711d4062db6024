// The element types of model/kernels/cuda, as types of tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "model/kernels/dtype.h"
#include "model/nf4/math.h"
#include "runtime/math/bf16.h"

namespace fttrain::cuda_on_host {

struct Half {
  uint16_t bits;
};

// T, S of its statistics, the largest relative error of rounding to T.
struct Float64 {
  using T = double;
  using S = double;
  static constexpr Dtype kDtype = Dtype::kFloat64;
  static constexpr double kRounding = 0x1p-53;
  static S Wide(T x) { return x; }
  static T Narrow(S x) { return x; }
};
struct Float32 {
  using T = float;
  using S = float;
  static constexpr Dtype kDtype = Dtype::kFloat32;
  static constexpr double kRounding = 0x1p-24;
  static S Wide(T x) { return x; }
  static T Narrow(S x) { return x; }
};
struct Bfloat16 {
  using T = Bf16;
  using S = float;
  static constexpr Dtype kDtype = Dtype::kBfloat16;
  static constexpr double kRounding = 0x1p-8;
  static S Wide(T x) { return FloatFromBf16(x); }
  static T Narrow(S x) { return Bf16FromFloat(x); }
};
struct Float16 {
  using T = Half;
  using S = float;
  static constexpr Dtype kDtype = Dtype::kFloat16;
  static constexpr double kRounding = 0x1p-11;
  static S Wide(T x) { return FloatFromHalf(x.bits); }
  static T Narrow(S x) { return {HalfFromFloat(x)}; }
};

using Types = testing::Types<Float64, Float32, Bfloat16, Float16>;
struct TypeNames {
  template <class Type>
  static std::string GetName(int) {
    return Type::kDtype == Dtype::kFloat64    ? "float64"
           : Type::kDtype == Dtype::kFloat32  ? "float32"
           : Type::kDtype == Dtype::kBfloat16 ? "bfloat16"
                                              : "float16";
  }
};

}  // namespace fttrain::cuda_on_host

#include "parallel/optimizer/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "parallel/optimizer/optimizer.h"
#include "parallel/optimizer/sum_of_squares.h"

namespace fttrain {
namespace {

// torch.optim.AdamW on one tensor, operator by operator.
void ReferenceStep(at::Tensor p, const at::Tensor& grad, at::Tensor m, at::Tensor v,
                   const AdamWStep& s) {
  const at::Tensor g = grad * s.grad_scale;
  const double t = static_cast<double>(s.step);
  p.mul_(1 - s.learning_rate * s.weight_decay);
  m.lerp_(g, 1 - s.beta1);
  v.mul_(s.beta2).addcmul_(g, g, 1 - s.beta2);
  const at::Tensor denominator = (v.sqrt() / std::sqrt(1 - std::pow(s.beta2, t))).add_(s.eps);
  p.addcdiv_(m, denominator, -s.learning_rate / (1 - std::pow(s.beta1, t)));
}

AdamWStep StepNumber(int64_t t) {
  return {.step = t,
          .learning_rate = 1e-2,
          .beta1 = 0.9,
          .beta2 = 0.95,
          .eps = 1e-8,
          .weight_decay = 0.1,
          .grad_scale = 0.37};
}

struct Moments {
  at::Tensor p, m, v;
  Moments(int64_t n, at::ScalarType dtype)
      : p(at::randn({n}, dtype)), m(at::zeros({n}, dtype)), v(at::zeros({n}, dtype)) {}
  explicit Moments(const Moments& other)
      : p(other.p.clone()), m(other.m.clone()), v(other.v.clone()) {}
};

using Update = void (*)(at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor,
                        const AdamWStep&);

// Largest difference to the reference after ten steps on 100003 elements.
double ErrorAfterTenSteps(Update update, at::ScalarType dtype) {
  at::manual_seed(1);
  Moments got(100003, dtype), want(got);
  for (int64_t t = 1; t <= 10; ++t) {
    const at::Tensor grad = at::randn({100003}, dtype);
    ReferenceStep(want.p, grad, want.m, want.v, StepNumber(t));
    update(got.p, grad.clone(), got.m, got.v, at::Tensor(), StepNumber(t));
  }
  return std::max({(got.p - want.p).abs().max().item<double>(),
                   (got.m - want.m).abs().max().item<double>(),
                   (got.v - want.v).abs().max().item<double>()});
}

TEST(AdamW, OursAndAtensKernelEqualTorchOptimAdamW) {
  for (const Update update : {Update(AdamWUpdate), Update(AdamWUpdateAten)}) {
    EXPECT_LT(ErrorAfterTenSteps(update, at::kDouble), 1e-14);
    EXPECT_LT(ErrorAfterTenSteps(update, at::kFloat), 2e-6);
  }
}

TEST(AdamW, ElementsDoNotDependOnHowTheBufferIsCut) {
  at::manual_seed(2);
  const int64_t n = 70001;
  Moments whole(n, at::kFloat), cut(whole);
  const at::Tensor grad = at::randn({n});
  AdamWUpdate(whole.p, grad.clone(), whole.m, whole.v, at::Tensor(), StepNumber(1));
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 3}, {3, 40000}, {40000, n}}) {
    const auto part = [begin = begin, end = end](const at::Tensor& t) {
      return t.slice(0, begin, end);
    };
    AdamWUpdate(part(cut.p), part(grad), part(cut.m), part(cut.v), at::Tensor(), StepNumber(1));
  }
  EXPECT_TRUE(at::equal(whole.p, cut.p) && at::equal(whole.m, cut.m) && at::equal(whole.v, cut.v));
}

TEST(AdamW, RoundedCopyIsTheNearestBfloat16OfTheMaster) {
  at::manual_seed(3);
  const int64_t n = 66000;
  Moments state(n, at::kFloat);
  // With zero gradient and learning rate the master keeps what is put there: ties, overflow, NaN.
  const float inf = std::numeric_limits<float>::infinity();
  const at::Tensor special =
      at::tensor({1.00390625f, 1.01171875f, -1.00390625f, 3.4028235e38f, inf, -inf,
                  std::numeric_limits<float>::quiet_NaN(), 1e-40f, -0.0f});
  state.p.slice(0, n - special.numel(), n).copy_(special);
  at::Tensor rounded = at::empty({n}, at::kBFloat16);
  AdamWUpdate(state.p, at::zeros({n}), state.m, state.v, rounded, {.step = 1});
  const at::Tensor want = state.p.to(at::kBFloat16);
  EXPECT_TRUE(at::allclose(rounded, want, /*rtol=*/0, /*atol=*/0, /*equal_nan=*/true));
}

TEST(AdamW, MismatchedOperandsAreRefused) {
  const at::Tensor four = at::zeros({4}), five = at::zeros({5}), none;
  EXPECT_THROW(AdamWUpdate(four, five, four, four, none, {}), c10::Error);
  EXPECT_THROW(AdamWUpdate(four, four.to(at::kDouble), four, four, none, {}), c10::Error);
  EXPECT_THROW(AdamWUpdate(four.to(at::kHalf), four, four, four, none, {}), c10::Error);
}

TEST(SumOfSquares, AccumulatesInFloat64WhateverTheThreadCount) {
  at::manual_seed(4);
  const int threads = at::get_num_threads();
  for (const int64_t n : {0, 1, 17, 1 << 14, 1000003}) {
    const at::Tensor x = at::randn({n});
    const double want = x.to(at::kDouble).square().sum().item<double>();
    at::set_num_threads(1);
    const double one = SumOfSquares(x).item<double>();
    at::set_num_threads(2);
    const double two = SumOfSquares(x).item<double>();
    EXPECT_EQ(one, two) << n;
    EXPECT_NEAR(one, want, 1e-12 * want) << n;
    EXPECT_NEAR(SumOfSquares(x.to(at::kDouble)).item<double>(), want, 1e-12 * want) << n;
  }
  at::set_num_threads(threads);
}

TEST(ClipCoefficient, IsMaxNormOverNormAndNeverAboveOne) {
  EXPECT_EQ(ClipCoefficient(4.0, 1.0), 1.0 / (4.0 + 1e-6));
  EXPECT_EQ(ClipCoefficient(0.5, 1.0), 1.0);
  EXPECT_EQ(ClipCoefficient(0.0, 1.0), 1.0);
  EXPECT_EQ(ClipCoefficient(100.0, 0.0), 1.0) << "0 turns clipping off";
}

}  // namespace
}  // namespace fttrain

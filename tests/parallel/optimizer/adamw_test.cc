#include "parallel/optimizer/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "parallel/optimizer/optimizer.h"
#include "parallel/optimizer/sum_of_squares.h"
#include "tests/test_device.h"

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
      : p(Randn({n}, dtype, 1)), m(at::zeros_like(p)), v(at::zeros_like(p)) {}
  explicit Moments(const Moments& other)
      : p(other.p.clone()), m(other.m.clone()), v(other.v.clone()) {}
};

// Largest difference to the reference after ten steps on 100003 elements.
double ErrorAfterTenSteps(at::ScalarType dtype) {
  Moments got(100003, dtype), want(got);
  for (int64_t t = 1; t <= 10; ++t) {
    const at::Tensor grad = Randn({100003}, dtype, static_cast<uint64_t>(100 + t));
    ReferenceStep(want.p, grad, want.m, want.v, StepNumber(t));
    AdamWUpdate(got.p, grad, got.m, got.v, at::Tensor(), StepNumber(t));
  }
  return std::max({(got.p - want.p).abs().max().item<double>(),
                   (got.m - want.m).abs().max().item<double>(),
                   (got.v - want.v).abs().max().item<double>()});
}

TEST(AdamW, EqualsTorchOptimAdamW) {
  EXPECT_LT(ErrorAfterTenSteps(at::kDouble), 1e-14);
  EXPECT_LT(ErrorAfterTenSteps(at::kFloat), 2e-6);
}

// Whole on the device, in parts on the CPU.
TEST(AdamW, AnElementsBitsDependNeitherOnHowTheBufferIsCutNorOnTheDevice) {
  const int64_t n = 70001;
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Moments whole(n, dtype);
    const at::Tensor p = whole.p.cpu().clone(), m = at::zeros_like(p), v = at::zeros_like(p);
    const bool rounds = dtype == at::kFloat;
    const at::Tensor copy = at::zeros({n}, at::kBFloat16);
    const at::Tensor whole_copy = copy.to(TestDevice(), at::kBFloat16, false, /*copy=*/true);
    for (int64_t t = 1; t <= 3; ++t) {
      const at::Tensor grad = Randn({n}, dtype, static_cast<uint64_t>(t)), host_grad = grad.cpu();
      AdamWUpdate(whole.p, grad, whole.m, whole.v, rounds ? whole_copy : at::Tensor(),
                  StepNumber(t));
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 3}, {3, 40000}, {40000, n}}) {
        const auto part = [begin = begin, end = end](const at::Tensor& x) {
          return x.slice(0, begin, end);
        };
        AdamWUpdate(part(p), part(host_grad), part(m), part(v), rounds ? part(copy) : at::Tensor(),
                    StepNumber(t));
      }
    }
    EXPECT_TRUE(at::equal(whole.p.cpu(), p) && at::equal(whole.m.cpu(), m) &&
                at::equal(whole.v.cpu(), v) && at::equal(whole_copy.cpu(), copy))
        << dtype;
  }
}

TEST(AdamW, RoundedCopyIsTheNearestBfloat16OfTheMaster) {
  const int64_t n = 66000;
  Moments state(n, at::kFloat);
  // With zero gradient and learning rate the master keeps what is put there: ties, overflow, NaN.
  const float inf = std::numeric_limits<float>::infinity();
  const at::Tensor special =
      at::tensor({1.00390625f, 1.01171875f, -1.00390625f, 3.4028235e38f, inf, -inf,
                  std::numeric_limits<float>::quiet_NaN(), 1e-40f, -0.0f});
  state.p.slice(0, n - special.numel(), n).copy_(special);
  at::Tensor rounded = at::empty({n}, state.p.options().dtype(at::kBFloat16));
  AdamWUpdate(state.p, at::zeros_like(state.p), state.m, state.v, rounded, {.step = 1});
  const at::Tensor want = state.p.to(at::kBFloat16);
  EXPECT_TRUE(at::allclose(rounded, want, /*rtol=*/0, /*atol=*/0, /*equal_nan=*/true));
}

TEST(AdamW, MismatchedOperandsAreRefused) {
  const at::Tensor four = at::zeros({4}), five = at::zeros({5}), none;
  EXPECT_THROW(AdamWUpdate(four, five, four, four, none, {}), c10::Error);
  EXPECT_THROW(AdamWUpdate(four, four.to(at::kDouble), four, four, none, {}), c10::Error);
  EXPECT_THROW(AdamWUpdate(four.to(at::kHalf), four, four, four, none, {}), c10::Error);
}

double SumOfSquares(const at::Tensor& x) {
  const at::Tensor total = at::zeros({}, x.options().dtype(at::kDouble));
  AddSumOfSquares(x, total);
  return total.item<double>();
}

TEST(SumOfSquares, AccumulatesInFloat64WhateverTheThreadCount) {
  const int threads = at::get_num_threads();
  for (const int64_t n : {0, 1, 17, 1 << 14, 1000003}) {
    const at::Tensor x = Randn({n}, at::kFloat, 4);
    const double want = x.to(at::kDouble).square().sum().item<double>();
    at::set_num_threads(1);
    const double one = SumOfSquares(x);
    at::set_num_threads(2);
    const double two = SumOfSquares(x);
    EXPECT_EQ(one, two) << n;
    EXPECT_NEAR(one, want, 1e-12 * want) << n;
    EXPECT_NEAR(SumOfSquares(x.to(at::kDouble)), want, 1e-12 * want) << n;
  }
  at::set_num_threads(threads);
}

TEST(SumOfSquares, IsAddedToTheTotal) {
  const at::Tensor x = at::tensor({3.0f, 4.0f}).to(TestDevice());
  const at::Tensor total = at::full({}, 100.0, x.options().dtype(at::kDouble));
  AddSumOfSquares(x, total);
  AddSumOfSquares(x.narrow(0, 1, 1), total);
  EXPECT_EQ(total.item<double>(), 141.0);
}

TEST(ClipCoefficient, IsMaxNormOverNormAndNeverAboveOne) {
  EXPECT_EQ(ClipCoefficient(4.0, 1.0), 1.0 / (4.0 + 1e-6));
  EXPECT_EQ(ClipCoefficient(0.5, 1.0), 1.0);
  EXPECT_EQ(ClipCoefficient(0.0, 1.0), 1.0);
  EXPECT_EQ(ClipCoefficient(100.0, 0.0), 1.0) << "0 turns clipping off";
}

}  // namespace
}  // namespace fttrain

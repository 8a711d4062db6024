// parallel/optimizer/adamw.cu on a grid of fibers: the CPU's bits, on whichever bytes the operands
// lie.
#include "parallel/optimizer/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "parallel/optimizer/adamw_cuda.h"
#include "tests/cuda_on_host/guarded.h"

namespace fttrain::cuda_on_host {
namespace {

// One element, no pack's, no block's, and several blocks' with and without packs.
constexpr int64_t kSizes[] = {0, 1, 2, 3, 4, 255, 1023, 1024, 1025, 5003};
// -1: all on 16 bytes; else which operand is not.
constexpr int kOdd[] = {-1, 0, 1, 2, 3, 4};

template <class T>
at::Tensor TensorOf(std::vector<T>& values, at::ScalarType dtype) {
  return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, dtype);
}
template <class T>
void ExpectBits(const char* what, const Guarded<T>& got, const std::vector<T>& want) {
  const std::vector<T> values = got.Values();
  ASSERT_EQ(values.size(), want.size());
  if (want.empty()) return;
  EXPECT_EQ(std::memcmp(values.data(), want.data(), want.size() * sizeof(T)), 0) << what;
}

AdamWStep StepNumber(int64_t t) {
  return {.step = t, .learning_rate = 0.01, .beta2 = 0.95, .weight_decay = 0.1, .grad_scale = 0.37};
}

// Three steps, the second without a rounded copy.
template <class T>
void ExpectTheCpusBits(int64_t n, int odd, bool rounds) {
  constexpr at::ScalarType kDtype = c10::CppTypeToScalarType<T>::value;
  int made = 0;
  const auto next = [&] { return Placement{made % 2 == 0, made++ != odd}; };
  std::vector<T> p = RandomNormals<T>(n, 1), m(p.size()), v(p.size());
  std::vector<uint16_t> copy(p.size());
  const Guarded<T> param("param", p, next()), exp_avg("exp_avg", m, next()),
      exp_avg_sq("exp_avg_sq", v, next());
  const Guarded<uint16_t> rounded("rounded", copy, next());
  const Placement of_grad = next();
  for (int64_t t = 1; t <= 3; ++t) {
    const bool with_copy = rounds && t != 2;
    std::vector<T> g = RandomNormals<T>(n, static_cast<unsigned>(10 + t), t == 3 ? 1e-30 : 1);
    const Guarded<T> grad("grad", g, of_grad);
    const auto options = StepNumber(t);
    AdamWUpdate(TensorOf(p, kDtype), TensorOf(g, kDtype), TensorOf(m, kDtype), TensorOf(v, kDtype),
                with_copy ? TensorOf(copy, at::kBFloat16) : at::Tensor(), options);
    cuda::AdamW<T>({param.data(), grad.data(), exp_avg.data(), exp_avg_sq.data(),
                    with_copy ? reinterpret_cast<Bf16*>(rounded.data()) : nullptr, n},
                   AdamWCoefficients<T>(options), nullptr);
    ExpectBits("param", param, p);
    ExpectBits("exp_avg", exp_avg, m);
    ExpectBits("exp_avg_sq", exp_avg_sq, v);
    ExpectBits("grad", grad, g);
    ExpectBits("rounded", rounded, copy);
  }
}

TEST(AdamWCudaKernel, StepsToTheCpusBits) {
  for (const int64_t n : kSizes) {
    for (const int odd : kOdd) {
      SCOPED_TRACE(testing::Message() << n << " elements, misaligned " << odd);
      ExpectTheCpusBits<float>(n, odd, /*rounds=*/true);
      ExpectTheCpusBits<double>(n, odd, /*rounds=*/false);
    }
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host

// parallel/optimizer/adamw_int8.cu on a grid of fibers: the CPU's parameters and moments bit for
// bit.
#include "parallel/optimizer/adamw_int8.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "parallel/optimizer/adamw_int8_cuda.h"
#include "tests/cuda_on_host/guarded.h"
#include "tests/cuda_on_host/runtime_api.h"

namespace fttrain::cuda_on_host {
namespace {

// Of several magnitudes; every fifth block is zero.
std::vector<float> Gradient(int64_t n, int64_t step) {
  std::vector<float> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t block = i / kInt8Block;
    const double sine = block % 5 == 2 ? 0.0 : std::sin(static_cast<double>(i * 7 + step * 1000));
    values[static_cast<size_t>(i)] =
        static_cast<float>(std::ldexp(sine, static_cast<int>(-3 * (block % 11))));
  }
  return values;
}
template <class T>
std::vector<T> ValuesOf(const at::Tensor& x) {
  const auto* data = static_cast<const T*>(x.const_data_ptr());
  return std::vector<T>(data, data + x.numel());
}
std::vector<uint32_t> BitsOf(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float v : values) bits.push_back(FloatBits(v));
  return bits;
}

TEST(AdamWInt8CudaKernel, StepsToTheCpusBits) {
  for (const int64_t blocks : {0, 1, 2, 17, 211}) {
    for (const bool at_end : {true, false}) {
      SCOPED_TRACE(testing::Message() << blocks << " blocks");
      const int64_t n = blocks * kInt8Block;
      const Placement placement{at_end, true};
      const at::Tensor tables = MakeInt8Tables(c10::kCPU), rounded = at::zeros({n}, at::kBFloat16);
      const at::Tensor param = at::linspace(-1.0, 1.0, n);
      const Int8Moments moments = ZeroInt8Moments(n, c10::kCPU);
      const Guarded<float> param_buffer("param", ValuesOf<float>(param), placement),
          m_absmax("exp_avg_absmax", std::vector<float>(static_cast<size_t>(blocks)), placement),
          v_absmax("exp_avg_sq_absmax", std::vector<float>(static_cast<size_t>(blocks)), placement);
      const std::vector<uint8_t> zeros(static_cast<size_t>(n));
      const Guarded<uint8_t> m("exp_avg", ValuesOf<uint8_t>(moments.exp_avg), placement),
          v("exp_avg_sq", ValuesOf<uint8_t>(moments.exp_avg_sq), placement),
          table_buffer("tables", ValuesOf<uint8_t>(tables), placement);
      const Guarded<uint16_t> copy("rounded", std::vector<uint16_t>(zeros.size()), placement);
      int asked = 0;
      for (int64_t step = 1; step <= 3; ++step) {
        const bool with_copy = step != 2;
        const AdamWStep options{
            .step = step, .learning_rate = 0.01, .weight_decay = 0.1, .grad_scale = 0.5};
        std::vector<float> gradient = Gradient(n, step);
        const Guarded<float> grad("grad", gradient, placement);
        AdamWInt8Update(param, at::from_blob(gradient.data(), {n}), moments,
                        with_copy ? rounded : at::Tensor(), tables, options);
        cuda::AdamWInt8(
            {param_buffer.data(), grad.data(), m.data(), v.data(), m_absmax.data(), v_absmax.data(),
             with_copy ? reinterpret_cast<Bf16*>(copy.data()) : nullptr, blocks},
            reinterpret_cast<const Int8Tables*>(table_buffer.data()),
            AdamWCoefficients<float>(options), nullptr);
        if (step == 1) asked = queries;
        EXPECT_EQ(queries, asked) << "the runtime is asked at the first launch alone";
        EXPECT_EQ(BitsOf(param_buffer.Values()), BitsOf(ValuesOf<float>(param)));
        EXPECT_EQ(m.Values(), ValuesOf<uint8_t>(moments.exp_avg));
        EXPECT_EQ(v.Values(), ValuesOf<uint8_t>(moments.exp_avg_sq));
        EXPECT_EQ(BitsOf(m_absmax.Values()), BitsOf(ValuesOf<float>(moments.exp_avg_absmax)));
        EXPECT_EQ(BitsOf(v_absmax.Values()), BitsOf(ValuesOf<float>(moments.exp_avg_sq_absmax)));
        EXPECT_EQ(copy.Values(), ValuesOf<uint16_t>(rounded));
      }
    }
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host

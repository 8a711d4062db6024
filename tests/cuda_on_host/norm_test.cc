// norm.cu (kernel_fixture.h).
#include "tests/cuda_on_host/kernel_fixture.h"

namespace fttrain::cuda_on_host {
namespace {

TYPED_TEST_SUITE(CudaKernel, Types, TypeNames);

// Rows of heads and of hidden states; the last ones need several packs a thread.
constexpr Shape kRowShapes[] = {{0, 64}, {1, 1},  {3, 7},   {37, 64},  {5, 128},
                                {2, 72}, {7, 96}, {3, 256}, {2, 1000}, {1, 8216}};

// Llama's, Gemma's, LayerNorm.
const std::vector<NormForm>& Forms() {
  static const std::vector<NormForm> forms = [] {
    std::vector<NormForm> made(3, NormForm(1e-5));
    made[1].offset = 1;
    made[1].rounds_once = made[2].rounds_once = made[2].centered = true;
    return made;
  }();
  return forms;
}

TYPED_TEST(CudaKernel, NormEqualsTheCpus) {
  using T = typename TypeParam::T;
  for (const Shape& shape : kRowShapes) {
    for (Layout layout : kLayouts) {
      const NormForm& form = Forms()[static_cast<size_t>(shape.columns + layout.at_end) % 3];
      const bool add = layout.at_end;
      SCOPED_TRACE(Text(shape) + ", misaligned " + std::to_string(layout.odd));
      const auto x = this->Random(shape.rows * shape.columns, 3.0),
                 delta = this->Random(shape.rows * shape.columns),
                 weight = this->Random(shape.columns);
      const Guarded<T> x_buffer("x", x, layout.Next()), weights("weight", weight, layout.Next()),
          y("y", x, layout.Next()), delta_buffer("delta", delta, layout.Next());
      cuda::Norm(TypeParam::kDtype, x_buffer.data(), add ? delta_buffer.data() : nullptr,
                 weights.data(), y.data(), shape.rows, shape.columns, form, nullptr);

      std::vector<double> sum = this->Wide(x), want(sum.size());
      if (add) {
        for (size_t i = 0; i < sum.size(); ++i) {
          sum[i] =
              TypeParam::Wide(TypeParam::Narrow(TypeParam::Wide(x[i]) + TypeParam::Wide(delta[i])));
        }
      }
      EXPECT_EQ(this->Wide(x_buffer.Values()), sum);
      this->cpu_.norm(sum.data(), nullptr, this->Wide(weight).data(), want.data(), shape.rows,
                      shape.columns, form);
      this->ExpectNear("y", y, want, 2);
    }
  }
}

TYPED_TEST(CudaKernel, NormBackwardEqualsTheCpus) {
  using T = typename TypeParam::T;
  for (const Shape& shape : kRowShapes) {
    for (Layout layout : kLayouts) {
      const NormForm& form = Forms()[static_cast<size_t>(shape.columns + layout.at_end) % 3];
      const bool residual = layout.odd != -1;
      SCOPED_TRACE(Text(shape) + ", misaligned " + std::to_string(layout.odd));
      const int64_t elements = shape.rows * shape.columns;
      const auto dy = this->Random(elements), x = this->Random(elements, 3.0),
                 weight = this->Random(shape.columns), dresidual = this->Random(elements);
      const Guarded<T> dys("dy", dy, layout.Next()), xs("x", x, layout.Next()),
          weights("weight", weight, layout.Next()),
          dresiduals("dresidual", dresidual, layout.Next()), dx("dx", x, layout.Next());
      cuda::NormBackward(TypeParam::kDtype, dys.data(), xs.data(), weights.data(),
                         residual ? dresiduals.data() : nullptr, dx.data(), nullptr, shape.rows,
                         shape.columns, form, nullptr);

      std::vector<double> want(x.size());
      this->cpu_.norm_backward(this->Wide(dy).data(), this->Wide(x).data(),
                               this->Wide(weight).data(),
                               residual ? this->Wide(dresidual).data() : nullptr, want.data(),
                               nullptr, shape.rows, shape.columns, form);
      this->ExpectNear("dx", dx, want, 1, /*terms=*/10);
    }
  }
}

// The parts of the weight's gradient: part p has the rows p, p + 256, ... All terms are positive,
// so that a sum's error is that of its terms.
TYPED_TEST(CudaKernel, NormBackwardSumsTheWeightsGradientInParts) {
  using T = typename TypeParam::T;
  using S = typename TypeParam::S;
  for (const Shape& shape : {Shape{0, 8}, Shape{3, 7}, Shape{260, 24}}) {
    for (Layout layout : {Layout{true, -1}, Layout{false, -1}, Layout{true, 3}}) {
      SCOPED_TRACE(Text(shape) + ", misaligned " + std::to_string(layout.odd));
      const int64_t elements = shape.rows * shape.columns;
      const auto dy = this->RandomPositive(elements), x = this->RandomPositive(elements),
                 weight = this->Random(shape.columns);
      const Guarded<T> dys("dy", dy, layout.Next()), xs("x", x, layout.Next()),
          weights("weight", weight, layout.Next());
      const Guarded<S> parts("partial_dweight",
                             std::vector<S>(this->Size(cuda::kDweightParts * shape.columns), 77),
                             layout.Next());
      const Guarded<T> dx("dx", x, layout.Next());
      cuda::NormBackward(TypeParam::kDtype, dys.data(), xs.data(), weights.data(), nullptr,
                         dx.data(), parts.data(), shape.rows, shape.columns, 1e-5, nullptr);

      const std::vector<S> got = parts.Values();
      std::vector<double> want(got.size()), want_dx(this->Size(shape.columns));
      const auto wide_dy = this->Wide(dy), wide_x = this->Wide(x), wide_weight = this->Wide(weight);
      for (int64_t r = 0; r < shape.rows; ++r) {
        const int64_t at = r * shape.columns, part = r % cuda::kDweightParts;
        this->cpu_.norm_backward(wide_dy.data() + at, wide_x.data() + at, wide_weight.data(),
                                 nullptr, want_dx.data(), want.data() + part * shape.columns, 1,
                                 shape.columns, 1e-5);
      }
      this->ExpectNear("partial_dweight", std::vector<double>(got.begin(), got.end()), want, 1);
    }
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host

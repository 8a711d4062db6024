// elementwise.cu (kernel_fixture.h).
#include "tests/cuda_on_host/kernel_fixture.h"

namespace fttrain::cuda_on_host {
namespace {

TYPED_TEST_SUITE(CudaKernel, Types, TypeNames);

TYPED_TEST(CudaKernel, RopeEqualsTheCpus) {
  using T = typename TypeParam::T;
  using S = typename TypeParam::S;
  for (const int64_t head_dim : {2, 6, 64, 80, 128, 256}) {
    for (Layout layout : kLayouts) {
      SCOPED_TRACE(std::to_string(head_dim) + ", misaligned " + std::to_string(layout.odd));
      const bool inverse = layout.odd % 2 == 0;
      // Of longer heads a part turns, in neighbouring pairs.
      const bool interleaved = head_dim == 80 && layout.at_end;
      const int64_t turned = head_dim == 128 || interleaved ? head_dim / 4 * 3 : head_dim;
      const int64_t rows = 5, heads = 3, half = turned / 2;
      const auto x = this->Random(rows * heads * head_dim);
      const std::vector<int64_t> positions = {6, 0, 1, 6, 3};
      std::vector<double> cos(this->Size(7 * half)), sin(cos.size());
      for (size_t i = 0; i < cos.size(); ++i) {
        cos[i] = static_cast<S>(std::cos(static_cast<double>(i)));
        sin[i] = static_cast<S>(std::sin(static_cast<double>(i)));
      }
      const Guarded<T> rotated("x", x, layout.Next());
      const Guarded<S> cosines("cos", this->ToStatistics(cos), layout.Next()),
          sines("sin", this->ToStatistics(sin), layout.Next());
      const Guarded<int64_t> places("positions", positions, layout.Next());
      cuda::Rope(TypeParam::kDtype, rotated.data(), cosines.data(), sines.data(), places.data(),
                 rows, heads, head_dim, inverse, turned, interleaved, nullptr);

      std::vector<double> want = this->Wide(x);
      this->cpu_.rope(want.data(), cos.data(), sin.data(), positions.data(), rows, heads, head_dim,
                      inverse, turned, interleaved);
      this->ExpectNear("x", rotated, want, 1);
    }
  }
}

GluForm FormOf(int64_t count) {
  GluForm form = count % 3 == 0   ? Activation::kClampedSwish
                 : count % 2 == 0 ? Activation::kSilu
                                  : Activation::kGeluTanh;
  form.limit = 1.5;
  return form;
}

constexpr int64_t kCounts[] = {0, 1, 7, 8, 96, 2049, 2051, 4096};

double Largest(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

TYPED_TEST(CudaKernel, GatedUnitEqualsTheCpus) {
  using T = typename TypeParam::T;
  for (const int64_t count : kCounts) {
    for (Layout layout : kLayouts) {
      SCOPED_TRACE(std::to_string(count) + ", misaligned " + std::to_string(layout.odd));
      const auto gate = this->Random(count, 4.0), up = this->Random(count);
      const Guarded<T> gates("gate", gate, layout.Next()), ups("up", up, layout.Next()),
          hidden("hidden", gate, layout.Next());
      cuda::Glu(TypeParam::kDtype, gates.data(), ups.data(), hidden.data(), count, FormOf(count),
                nullptr);
      std::vector<double> want(gate.size());
      this->cpu_.glu(this->Wide(gate).data(), this->Wide(up).data(), want.data(), count,
                     FormOf(count));
      // Of a gate far below 0 next to nothing is left, of numbers of the inputs' size.
      const double terms = Largest(this->Wide(gate)) * Largest(this->Wide(up));
      this->ExpectNear("hidden", hidden, want, 1, terms);
    }
  }
}

TYPED_TEST(CudaKernel, GatedUnitBackwardEqualsTheCpus) {
  using T = typename TypeParam::T;
  for (const int64_t count : kCounts) {
    for (Layout layout : kLayouts) {
      SCOPED_TRACE(std::to_string(count) + ", misaligned " + std::to_string(layout.odd));
      const bool with_hidden = layout.odd != -1;
      const auto gate = this->Random(count, 4.0), up = this->Random(count),
                 dhidden = this->Random(count);
      const Guarded<T> dhiddens("dhidden", dhidden, layout.Next()),
          gates("gate", gate, layout.Next()), ups("up", up, layout.Next()),
          hidden("hidden", gate, layout.Next());
      cuda::GluBackward(TypeParam::kDtype, dhiddens.data(), gates.data(), ups.data(),
                        with_hidden ? hidden.data() : nullptr, count, FormOf(count), nullptr);
      std::vector<double> dgate = this->Wide(gate), dup = this->Wide(up), want(gate.size());
      this->cpu_.glu_backward(this->Wide(dhidden).data(), dgate.data(), dup.data(), want.data(),
                              count, FormOf(count));
      const double terms = Largest(this->Wide(gate)) * std::max(1.0, Largest(this->Wide(up))) *
                           Largest(this->Wide(dhidden));
      this->ExpectNear("dgate", gates, dgate, 1, terms);
      this->ExpectNear("dup", ups, dup, 1, terms);
      this->ExpectNear("hidden", hidden, with_hidden ? want : this->Wide(gate), 1, terms);
    }
  }
}

TYPED_TEST(CudaKernel, SoftCapEqualsTheCpus) {
  using T = typename TypeParam::T;
  for (const int64_t count : kCounts) {
    for (Layout layout : kLayouts) {
      SCOPED_TRACE(std::to_string(count) + ", misaligned " + std::to_string(layout.odd));
      const auto x = this->Random(count, 4.0);
      const Guarded<T> capped("x", x, layout.Next());
      cuda::SoftCap(TypeParam::kDtype, capped.data(), count, 2.5, nullptr);
      std::vector<double> want = this->Wide(x);
      this->cpu_.soft_cap(want.data(), count, 2.5);
      this->ExpectNear("x", capped, want, 1);
    }
  }
}

// Slices that begin anywhere in a Philox block, and some that begin at its first word.
TYPED_TEST(CudaKernel, DropoutIsTheCpusBitForBit) {
  using T = typename TypeParam::T;
  using S = typename TypeParam::S;
  for (const Shape& shape : {Shape{0, 8}, Shape{1, 1}, Shape{3, 5}, Shape{5, 8}, Shape{2, 256},
                             Shape{3, 203}, Shape{2, 2060}, Shape{1, 4096}}) {
    for (const int64_t offset : {0, 4, 3}) {
      for (Layout layout : kLayouts) {
        if (layout.odd > 2) continue;
        SCOPED_TRACE(Text(shape) + " at " + std::to_string(offset) + ", misaligned " +
                     std::to_string(layout.odd));
        const int64_t features = offset + shape.columns + (offset == 4 ? 4 : 0);
        const double p = layout.at_end ? 0.25 : 0.0;
        const auto x = this->Random(shape.rows * shape.columns);
        const std::vector<int64_t> tokens = {7, int64_t{1} << 33, 0, 8, 2};
        const Guarded<T> xs("x", x, layout.Next()), y("y", x, layout.Next());
        const Guarded<int64_t> token_buffer(
            "tokens", std::vector<int64_t>(tokens.begin(), tokens.begin() + shape.rows),
            layout.Next());
        cuda::Dropout(TypeParam::kDtype, xs.data(), token_buffer.data(), y.data(), shape.rows,
                      shape.columns, {11, 22, p, 1.0 / (1.0 - p), offset, features}, nullptr);

        const std::vector<S> wide = this->template Wide<S>(x);
        std::vector<S> want(wide.size());
        RowsOf<S>(CpuKernelsBase())
            .dropout(wide.data(), tokens.data(), want.data(), shape.rows, shape.columns,
                     {11, 22, p, offset, features});
        this->ExpectEqual(y, want);
      }
    }
  }
}

// A grid has 65535 blocks at most along its second side.
using DropoutOfManyRows = CudaKernel<Float32>;
TEST_F(DropoutOfManyRows, StridesOverThem) {
  const int64_t rows = 65537;
  std::vector<int64_t> tokens(Size(rows));
  for (int64_t r = 0; r < rows; ++r) tokens[Size(r)] = r;
  const auto x = Random(rows);
  const Guarded<float> xs("x", x, {true, true}), y("y", x, {true, true});
  const Guarded<int64_t> token_buffer("tokens", tokens, {true, true});
  cuda::Dropout(Float32::kDtype, xs.data(), token_buffer.data(), y.data(), rows, 1,
                {11, 22, 0.25, 1.0 / 0.75, 0, 1}, nullptr);
  std::vector<float> want(x.size());
  CpuKernelsBase().float32.dropout(x.data(), tokens.data(), want.data(), rows, 1,
                                   {11, 22, 0.25, 0, 1});
  ExpectEqual(y, want);
}

TYPED_TEST(CudaKernel, AccumulateIsTheCpusBitForBit) {
  using T = typename TypeParam::T;
  using S = typename TypeParam::S;
  for (const int64_t count : kCounts) {
    for (Layout layout : kLayouts) {
      if (layout.odd > 1) continue;
      SCOPED_TRACE(std::to_string(count) + ", misaligned " + std::to_string(layout.odd));
      const auto value = this->Random(count);
      std::vector<S> want = this->template Wide<S>(this->Random(count));
      const Guarded<S> sum("accumulator", want, layout.Next());
      const Guarded<T> values("value", value, layout.Next());
      cuda::Accumulate(TypeParam::kDtype, sum.data(), values.data(), count, nullptr);
      RowsOf<S>(CpuKernelsBase())
          .accumulate(want.data(), this->template Wide<S>(value).data(), count);
      EXPECT_EQ(sum.Values(), want);
    }
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host

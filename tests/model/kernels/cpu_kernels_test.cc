// The CPU loops beneath kernels.h: element arithmetic against libm, instruction sets and thread
// counts against one another.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "model/kernels/attention.h"
#include "model/kernels/cpu/table.h"
#include "model/kernels/dispatch.h"
#include "model/kernels/element_math.h"
#include "model/kernels/kernels.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

// Distance in units of the last place of the exact value in Float.
template <class Float>
double Ulps(Float got, long double exact) {
  const Float rounded = static_cast<Float>(exact);
  const Float step = std::nextafter(std::fabs(rounded), std::numeric_limits<Float>::infinity()) -
                     std::fabs(rounded);
  return static_cast<double>(std::fabs(static_cast<long double>(got) - exact) / step);
}

TEST(ElementMath, ExpIsWithinOneAndAHalfUnitsInTheLastPlace) {
  double worst_float = 0, worst_double = 0;
  for (int i = 0; i <= 400000; ++i) {
    const float x = -87.3f + 175.9f * static_cast<float>(i) / 400000.0f;
    worst_float = std::max(worst_float, Ulps(Exp(x), std::exp(static_cast<long double>(x))));
    const double y = -708.0 + 1417.0 * i / 400000.0;
    worst_double = std::max(worst_double, Ulps(Exp(y), std::exp(static_cast<long double>(y))));
  }
  EXPECT_LT(worst_float, 1.5);
  EXPECT_LT(worst_double, 1.5);
}

TEST(ElementMath, ExpAtTheEndsOfTheRangeIsZeroInfinityOrNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Exp(-infinity), 0.0f);
  EXPECT_EQ(Exp(-90.0f), 0.0f);
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(100.0f), infinity);
  EXPECT_EQ(Exp(1e30f), infinity);
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
  EXPECT_EQ(Exp(-1e300), 0.0);
  EXPECT_EQ(Exp(1e300), std::numeric_limits<double>::infinity());
}

TEST(ElementMath, SigmoidStaysFiniteForEveryArgument) {
  for (const float x : {-1e30f, -200.0f, -88.0f, -1.0f, 0.0f, 1.0f, 88.0f, 200.0f, 1e30f}) {
    EXPECT_NEAR(Sigmoid(x), 1.0 / (1.0 + std::exp(-static_cast<double>(x))), 1e-7) << x;
  }
}

TEST(ElementMath, TanhIsExactNearZeroToo) {
  for (const double x : {0.0, 1e-9, 1e-4, 0.02, 0.17, 0.36, 0.7, 3.0, 9.0, 21.0, 1e30}) {
    for (const double signed_x : {x, -x}) {
      const double want = std::tanh(signed_x), share = std::abs(want);
      EXPECT_NEAR(Tanh(signed_x), want, 4e-16 * share) << signed_x;
      EXPECT_NEAR(Tanh(static_cast<float>(signed_x)), want, 2.5e-7 * share) << signed_x;
    }
  }
  EXPECT_TRUE(std::isnan(Tanh(std::nanf(""))));
}

TEST(ElementMath, Bf16RoundsToNearestEvenAsAtenDoes) {
  std::vector<float> values = {0.0f, -0.0f, 1.00390625f, 1.01171875f, 3.4e38f, -3.4e38f, 1e-30f};
  for (int i = 0; i < 5000; ++i) values.push_back(std::sin(static_cast<float>(i)) * 1000.0f);
  for (const float x : values) EXPECT_EQ(Bf16FromFloat(x).bits, c10::BFloat16(x).x) << x;
  EXPECT_TRUE(std::isnan(FloatFromBf16(Bf16FromFloat(std::nanf("")))));
}

// Results of one set of loops, for T of `type`: of every entry of the table but attention's.
// `other_forms`: those that Llama does not have.
template <class T>
std::vector<at::Tensor> RunEverything(const RowKernels<T>& kernels, at::ScalarType type,
                                      bool other_forms) {
  const GluForm activation = other_forms ? Activation::kGeluTanh : Activation::kSilu;
  NormForm form;
  form.centered = form.rounds_once = other_forms;
  form.offset = other_forms ? 1 : 0;
  using S = typename StatisticsOf<T>::Type;
  const int64_t rows = 7, columns = 203;
  const auto input = [&](uint64_t seed) { return Randn({rows, columns}, type, seed, 2.0); };
  const at::Tensor x = input(1), dy = input(2), weight = Randn({columns}, type, 3);
  const at::Tensor dweight = at::zeros({columns}, StatisticsType(x)), y = at::empty_like(x);
  const at::Tensor dx = at::empty_like(x), hidden = at::empty_like(x), dropped = at::empty_like(x);
  const at::Tensor targets = at::arange(rows, at::kLong),
                   stats = at::empty({rows, 3}, dweight.options());
  const at::Tensor gate = input(4), up = input(5), logits = input(6),
                   lse = at::full({rows}, 6.0, dweight.options()),
                   coefficients = at::linspace(-1.0, 2.0, rows, dweight.options());
  kernels.norm(MutableData<T>(x), Data<T>(dy), Data<T>(weight), MutableData<T>(y), rows, columns,
               form);
  kernels.norm_backward(Data<T>(dy), Data<T>(x), Data<T>(weight), nullptr, MutableData<T>(dx),
                        MutableData<S>(dweight), rows, columns, form);
  kernels.cross_entropy_stats(Data<T>(logits), Data<int64_t>(targets), MutableData<S>(stats), rows,
                              columns, 0);
  kernels.cross_entropy_backward(MutableData<T>(logits), Data<S>(lse), Data<int64_t>(targets),
                                 Data<S>(coefficients), rows, columns, 0, other_forms ? 8.0 : 0.0);
  kernels.dropout(Data<T>(x), Data<int64_t>(targets), MutableData<T>(dropped), rows, columns,
                  {1, 2, 0.25, 3, 300});
  kernels.glu_backward(Data<T>(dy), MutableData<T>(gate), MutableData<T>(up),
                       MutableData<T>(hidden), rows * columns, activation);
  const at::Tensor activated = at::empty_like(x), rotated = input(7), narrow = at::empty_like(x);
  const at::Tensor capped = input(10);
  kernels.glu(Data<T>(dx), Data<T>(dy), MutableData<T>(activated), rows * columns, activation);
  kernels.soft_cap(MutableData<T>(capped), rows * columns, 2.0);
  GluForm clamped = Activation::kClampedSwish;
  clamped.limit = other_forms ? 1.0 : 7.0;
  const at::Tensor clamped_gate = input(11), clamped_up = input(12), clamped_hidden = input(13);
  kernels.glu_backward(Data<T>(dy), MutableData<T>(clamped_gate), MutableData<T>(clamped_up),
                       MutableData<T>(clamped_hidden), rows * columns, clamped);
  // 7 heads of 28 in rows of 196 elements; the cosines and sines of 14 frequencies.
  const at::Tensor angle = Randn({rows, 14}, dweight.scalar_type(), 8, 3.0);
  const at::Tensor cos = angle.cos(), sin = angle.sin();
  kernels.rope(MutableData<T>(rotated), Data<S>(cos), Data<S>(sin), Data<int64_t>(targets), rows, 7,
               28, /*inverse=*/false, /*turned=*/28, other_forms);
  const at::Tensor sum = Randn({rows, columns}, dweight.scalar_type(), 9),
                   wide = at::empty_like(sum);
  kernels.accumulate(MutableData<S>(sum), Data<T>(dy), rows * columns);
  kernels.widen(Data<T>(dy), MutableData<S>(wide), rows * columns);
  kernels.round(Data<S>(sum), MutableData<T>(narrow), rows * columns);
  const at::Tensor product = at::zeros({rows, rows}, dweight.options());
  kernels.few_rows({.a = Data<S>(sum),
                    .b = Data<T>(dy),
                    .sum = MutableData<S>(product),
                    .a_stride = columns,
                    .b_stride = columns,
                    .sum_stride = rows,
                    .rows = rows,
                    .columns = rows,
                    .inner = columns,
                    .alpha = S(0.5)});
  return {x,      y,       dx,     dweight,      stats,      logits,        dropped,
          gate,   up,      hidden, activated,    rotated,    sum,           wide,
          narrow, product, capped, clamped_gate, clamped_up, clamped_hidden};
}

TEST(CpuKernels, InstructionSetsAgreeToRounding) {
  const std::vector<const CpuKernels*> usable = UsableCpuKernels();
  std::vector<std::pair<const CpuKernels*, bool>> runs;
  for (const CpuKernels* kernels : usable) {
    for (const bool other_forms : {false, true}) runs.emplace_back(kernels, other_forms);
  }
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    WithElementType(at::empty({1}, type), [&]<class T>(T) {
      for (const auto& [kernels, other_forms] : runs) {
        const auto want = RunEverything(RowsOf<T>(*usable.front()), type, other_forms);
        const auto got = RunEverything(RowsOf<T>(*kernels), type, other_forms);
        const double bound = type == at::kDouble ? 1e-13 : type == at::kFloat ? 1e-6 : 2e-3;
        for (size_t i = 0; i < got.size(); ++i) {
          EXPECT_LE(RelativeError(got[i], want[i]), bound) << kernels->name << " result " << i;
        }
      }
    });
  }
}

// Matrices with gaps between their rows, sums of one place to several blocks of rows, columns of
// parts of a vector to all there may be: beside a product in float64, rounded once.
template <class T>
void ExpectBlockProducts(const CpuKernels& set, at::ScalarType type, double bound) {
  using S = typename StatisticsOf<T>::Type;
  const RowKernels<T>& kernels = RowsOf<T>(set);
  for (const int64_t inner : {1, 2, 16, 33, 34, 70, 1100}) {
    const int64_t bytes = kernels.block_product_workspace(inner);
    if (bytes == 0) continue;
    EXPECT_EQ(bytes % 64, 0);
    for (const int64_t rows : {0, 1, 5, 200}) {
      for (const int64_t columns : {1, 63, 64}) {
        for (const bool by_rows : {false, true}) {
          for (const bool accumulate : {false, true}) {
            SCOPED_TRACE(testing::Message()
                         << set.name << " [" << rows << ", " << inner << "] [" << inner << ", "
                         << columns << "]" << (by_rows ? " by rows" : "")
                         << (accumulate ? " added" : ""));
            const at::Tensor a = Randn({rows, inner + 3}, type, 1).narrow(1, 1, inner);
            at::Tensor b = by_rows ? Randn({inner, columns + 5}, type, 2).narrow(1, 2, columns)
                                   : Randn({columns, inner + 7}, type, 2).narrow(1, 3, inner).t();
            const at::Tensor all = Randn({rows, columns + 9}, type, 3), before = all.clone();
            const at::Tensor out = all.narrow(1, 4, columns);
            const at::Tensor workspace = at::full({bytes}, 0xff, at::kByte);
            kernels.block_product({.a = Data<T>(a),
                                   .b = Data<T>(b),
                                   .out = MutableData<T>(out),
                                   .a_stride = a.stride(0),
                                   .b_stride = b.stride(by_rows ? 0 : 1),
                                   .out_stride = out.stride(0),
                                   .rows = rows,
                                   .columns = columns,
                                   .inner = inner,
                                   .b_by_rows = by_rows,
                                   .accumulate = accumulate,
                                   .alpha = S(0.5)},
                                  workspace.mutable_data_ptr());
            const at::Tensor want = before.to(at::kDouble);
            at::Tensor sum = want.narrow(1, 4, columns);
            sum.mul_(accumulate ? 1 : 0).add_(a.to(at::kDouble).mm(b.to(at::kDouble)), 0.5);
            // What lies between the rows of out is as it was.
            if (rows > 0) {
              EXPECT_LE(RelativeError(all, want.to(type)), bound);
            }
            EXPECT_TRUE(all.narrow(1, 0, 4).equal(before.narrow(1, 0, 4)));
            EXPECT_TRUE(all.narrow(1, 4 + columns, 5).equal(before.narrow(1, 4 + columns, 5)));
          }
        }
      }
    }
  }
}

TEST(CpuKernels, BlockProductsAreRoundedOnce) {
  for (const CpuKernels* kernels : UsableCpuKernels()) {
    ExpectBlockProducts<double>(*kernels, at::kDouble, 1e-14);
    ExpectBlockProducts<float>(*kernels, at::kFloat, 1e-6);
    ExpectBlockProducts<Bf16>(*kernels, at::kBFloat16, 1.0 / 2048);
    EXPECT_GT(kernels->float32.block_product_workspace(33), 0);
    EXPECT_GT(kernels->float64.block_product_workspace(33), 0);
    EXPECT_EQ(kernels->bfloat16.block_product_workspace(33), 0) << "they come in pairs";
  }
}

// Attention's loops, which the selected set may take from another one.
TEST(CpuKernels, AttentionAgreesBetweenInstructionSets) {
  const int64_t tokens = 150, group = 2, dim = 40;
  const at::Tensor q = Randn({tokens, group, dim}, at::kBFloat16, 1),
                   dout = Randn({tokens, group, dim}, at::kBFloat16, 2);
  const at::Tensor k = Randn({tokens, 1, dim}, at::kBFloat16, 3),
                   v = Randn({tokens, 1, dim}, at::kBFloat16, 4);
  std::vector<at::Tensor> want;
  for (const CpuKernels* kernels : UsableCpuKernels()) {
    const at::Tensor out = at::empty_like(q), lse = at::empty({group, tokens}),
                     dq = at::empty_like(q);
    const at::Tensor dk = at::empty_like(k), dv = at::empty_like(v);
    const AttentionHead<Bf16> head{Data<Bf16>(q),
                                   Data<Bf16>(k),
                                   Data<Bf16>(v),
                                   MutableData<Bf16>(out),
                                   MutableData<float>(lse),
                                   group * dim,
                                   dim,
                                   tokens,
                                   tokens,
                                   group,
                                   dim,
                                   /*window=*/90,
                                   /*scale=*/0.15,
                                   /*soft_cap=*/1.5,
                                   /*sinks=*/nullptr,
                                   Data<Bf16>(dout),
                                   MutableData<Bf16>(dq),
                                   MutableData<Bf16>(dk),
                                   MutableData<Bf16>(dv)};
    const RowKernels<Bf16>& rows = kernels->bfloat16;
    const at::Tensor workspace = at::empty(
        {std::max(rows.attention_workspace(head, false), rows.attention_workspace(head, true))},
        at::kByte);
    rows.attention_forward(head, workspace.mutable_data_ptr());
    rows.attention_backward(head, workspace.mutable_data_ptr());
    const std::vector<at::Tensor> got = {out, lse, dq, dk, dv};
    if (want.empty()) want = got;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(RelativeError(got[i], want[i]), i == 1 ? 1e-6 : 0.01)
          << kernels->name << " result " << i;
    }
  }
}

// dy * weight is by far the larger product of a norm's gradient. A model without a mean to subtract
// must not pay for those that have one with a rounding of it: 1 + 2^-11 + 2^-24 here, of which
// float32 keeps 1 + 2^-11.
TEST(CpuKernels, AFusedMultiplyAddTakesTheProductOfANormsGradientUnrounded) {
  const std::vector<float> x = {1, 1}, dy = {1 + 0x1p-12f, 1 + 0x1p-11f},
                           weight = {1 + 0x1p-12f, 1};
  for (const CpuKernels* kernels : UsableCpuKernels()) {
    std::vector<float> dx = {-1, -1};
    kernels->float32.norm_backward(dy.data(), x.data(), weight.data(), nullptr, dx.data(), nullptr,
                                   /*rows=*/1, /*columns=*/2, /*form=*/0.0);
    const bool may_lack_it = std::string_view(kernels->name) == "baseline";
    EXPECT_TRUE(dx[0] == 0x1p-24f || (may_lack_it && dx[0] == 0.0f)) << kernels->name << dx[0];
    EXPECT_EQ(dx[1], 0.0f) << kernels->name;
  }
}

TEST(CpuKernels, ResultsDoNotDependOnTheNumberOfThreads) {
  const int64_t rows = 301, columns = 517;
  const SequenceLayout layout = MakeSequenceLayout({0, 100, 101, 230}, at::kCPU);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = Randn({rows, columns}, type, 1), dy = Randn({rows, columns}, type, 2);
    const at::Tensor weight = Randn({columns}, type, 3), index = at::arange(rows, at::kLong);
    const at::Tensor q = Randn({230, 4, 32}, type, 1), dout = Randn({230, 4, 32}, type, 2);
    const at::Tensor k = Randn({230, 2, 32}, type, 3), v = Randn({230, 2, 32}, type, 4);
    std::vector<at::Tensor> first;
    for (const int threads : {1, 2, 3}) {
      at::set_num_threads(threads);
      const at::Tensor gate = x.clone(), up = dy.clone();
      at::Tensor dweight = at::zeros({columns});
      const at::Tensor dx = NormBackward(dy, x, weight, 1e-6, dy, dweight);
      const at::Tensor hidden = GluBackwardInPlace(dy, gate, up, true);
      const AttentionResult forward = AttentionForward(q, k, v, layout, {0.2, 0});
      const AttentionGradients g = AttentionBackward(dout, q, k, v, forward, layout, {0.2, 0});
      const std::vector<at::Tensor> results = {NormForward(x, weight, 1e-6),
                                               Dropout(x, index, 0.1, {1, 2}, 0, columns),
                                               CrossEntropyStats(x, index, 0),
                                               dx,
                                               dweight,
                                               gate,
                                               up,
                                               hidden,
                                               forward.out,
                                               forward.lse,
                                               g.dq,
                                               g.dk,
                                               g.dv};
      if (first.empty()) first = results;
      for (size_t i = 0; i < results.size(); ++i) EXPECT_TRUE(at::equal(results[i], first[i])) << i;
    }
  }
}

}  // namespace
}  // namespace fttrain

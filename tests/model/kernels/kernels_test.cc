// Each fused kernel against a plain ATen formulation in float64, with autograd as the oracle of its
// backward.
#include "model/kernels/kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/math/philox.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

constexpr double kEps = 1e-5;

at::Tensor Leaf(const at::Tensor& x, at::ScalarType type) {
  return x.detach().to(at::kCPU, type).clone().requires_grad_(true);
}

// The formulas as transformers writes them; statistics in float32, or float64 when `x` is.
at::Tensor Statistics(const at::Tensor& x) {
  return x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}
at::Tensor PlainNorm(const at::Tensor& x, const at::Tensor& weight, const NormForm& form = kEps) {
  at::Tensor wide = Statistics(x);
  if (form.centered) wide = wide - wide.mean(-1, /*keepdim=*/true);
  const at::Tensor rstd = (wide.pow(2).mean(-1, /*keepdim=*/true) + form.eps).rsqrt();
  if (!form.rounds_once) return weight * (wide * rstd).to(x.scalar_type());
  return ((Statistics(weight) + form.offset) * (wide * rstd)).to(x.scalar_type());
}
at::Tensor PlainGlu(const at::Tensor& gate, const at::Tensor& up, const GluForm& form) {
  if (form.activation == Activation::kClampedSwish) {
    const at::Tensor g = gate.clamp_max(form.limit);
    return g * at::sigmoid(g * form.alpha) * (up.clamp(-form.limit, form.limit) + 1);
  }
  const bool silu = form.activation == Activation::kSilu;
  return (silu ? at::silu(gate) : at::gelu(gate, "tanh")) * up;
}

// Llama's, Gemma's, LayerNorm.
std::vector<NormForm> Forms() {
  std::vector<NormForm> forms(3, NormForm(kEps));
  forms[1].offset = 1;
  forms[1].rounds_once = forms[2].rounds_once = forms[2].centered = true;
  return forms;
}

struct Shape {
  int64_t rows, columns;
};
void PrintTo(const Shape& s, std::ostream* out) { *out << s.rows << "x" << s.columns; }

class Kernel : public testing::TestWithParam<std::tuple<Shape, at::ScalarType>> {
 protected:
  int64_t rows() const { return std::get<0>(GetParam()).rows; }
  int64_t columns() const { return std::get<0>(GetParam()).columns; }
  at::ScalarType type() const { return std::get<1>(GetParam()); }
  at::ScalarType statistics_type() const {
    return type() == at::kDouble ? at::kDouble : at::kFloat;
  }
  at::Tensor Input(uint64_t seed, double scale = 1.0) const {
    return Randn({rows(), columns()}, type(), seed, scale);
  }
  at::Tensor ZeroStatistics(at::IntArrayRef shape) const {
    return at::zeros(shape, at::TensorOptions(TestDevice()).dtype(statistics_type()));
  }
  // `exact` and `plain`: the same formula in float64 and in type().
  void ExpectNear(const char* what, const at::Tensor& got, const at::Tensor& exact,
                  const at::Tensor& plain) const {
    EXPECT_LE(RelativeError(got, exact), ErrorBound(type(), RelativeError(plain, exact))) << what;
  }
};

TEST_P(Kernel, NormEqualsThePlainFormulaAndRoundsBeforeTheWeightAsTransformersDoes) {
  const at::Tensor x = Input(1, 3.0), weight = Randn({columns()}, type(), 2);
  const at::Tensor got = NormForward(x, weight, kEps), plain = PlainNorm(x.cpu(), weight.cpu());
  ExpectNear("y", got, PlainNorm(Wide(x), Wide(weight)), plain);
  // A different order of the sum of squares may move a few values across a rounding boundary, no
  // more.
  const double different = (got.cpu() != plain).to(at::kDouble).mean().item<double>();
  if (type() == at::kBFloat16) {
    EXPECT_LE(different, 0.02);
  }
  EXPECT_TRUE(at::allclose(Wide(got), Wide(plain), 0.01, 1e-7));
}

TEST_P(Kernel, AddRmsNormWritesTheSumAndReturnsItsNorm) {
  const at::Tensor x = Input(1), delta = Input(2), weight = Randn({columns()}, type(), 3);
  at::Tensor sum = x.clone();
  const at::Tensor y = AddNormForward(sum, delta, weight, kEps);
  EXPECT_TRUE(at::equal(sum, x + delta));
  EXPECT_TRUE(at::equal(y, NormForward(sum, weight, kEps)));
}

TEST_P(Kernel, NormsOfOtherFormsEqualThePlainFormula) {
  const at::Tensor x = Input(1, 3.0) + 1, weight = Randn({columns()}, type(), 2);
  if (columns() == 1) return;  // LayerNorm of one element is 0, whatever rounds to
  for (const NormForm& form : Forms()) {
    ExpectNear("y", NormForward(x, weight, form), PlainNorm(Wide(x), Wide(weight), form),
               PlainNorm(x.cpu(), weight.cpu(), form));
  }
}

TEST_P(Kernel, NormBackwardEqualsAutograd) {
  const at::Tensor x = Input(1, 3.0), weight = Randn({columns()}, type(), 2), dy = Input(3);
  const at::Tensor dresidual = Input(4), before = Randn({columns()}, statistics_type(), 5);
  for (const NormForm& form : Forms()) {
    if (form.centered && columns() == 1) continue;
    const auto autograd = [&](at::ScalarType t) {
      const at::Tensor leaf = Leaf(x, t), w = Leaf(weight, t);
      PlainNorm(leaf, w, form).backward(dy.to(at::kCPU, t));
      return std::tuple(leaf.grad() + dresidual.to(at::kCPU, t), before.cpu() + w.grad());
    };
    const auto [exact_dx, exact_dw] = autograd(at::kDouble);
    const auto [plain_dx, plain_dw] = autograd(type());

    at::Tensor dweight = before.clone();
    ExpectNear("dx", NormBackward(dy, x, weight, form, dresidual, dweight), exact_dx, plain_dx);
    ExpectNear("dweight", dweight, exact_dw, plain_dw);
    const at::Tensor frozen = NormBackward(dy, x, weight, form, {}, {});
    EXPECT_TRUE(at::equal(frozen, NormBackward(dy, x, weight, form, at::zeros_like(dy), dweight)));
  }
}

// The last one's limit is met by a third of the inputs.
std::vector<GluForm> GluForms() {
  std::vector<GluForm> forms = {Activation::kSilu, Activation::kGeluTanh, Activation::kClampedSwish,
                                Activation::kClampedSwish};
  forms.back().limit = 1.0;
  forms.back().alpha = 1.25;
  return forms;
}

TEST_P(Kernel, GatedUnitEqualsThePlainFormula) {
  const at::Tensor gate = Input(1, 4.0), up = Input(2);
  for (const GluForm& form : GluForms()) {
    ExpectNear("h", GluForward(gate, up, form), PlainGlu(Wide(gate), Wide(up), form),
               PlainGlu(gate.cpu(), up.cpu(), form));
  }
}

TEST_P(Kernel, GatedUnitBackwardOverwritesGateAndUpWithTheirGradients) {
  const at::Tensor gate = Input(1, 4.0), up = Input(2), dh = Input(3);
  for (const GluForm& form : GluForms()) {
    const auto autograd = [&](at::ScalarType t) {
      const at::Tensor g = Leaf(gate, t), u = Leaf(up, t);
      PlainGlu(g, u, form).backward(dh.to(at::kCPU, t));
      return std::tuple(g.grad(), u.grad());
    };
    const auto [exact_dg, exact_du] = autograd(at::kDouble);
    const auto [plain_dg, plain_du] = autograd(type());

    for (const bool with_hidden : {false, true}) {
      const at::Tensor dgate = gate.clone(), dup = up.clone();
      const at::Tensor h = GluBackwardInPlace(dh, dgate, dup, with_hidden, form);
      ExpectNear("dgate", dgate, exact_dg, plain_dg);
      ExpectNear("dup", dup, exact_du, plain_du);
      ASSERT_EQ(h.defined(), with_hidden);
      if (with_hidden) {
        EXPECT_TRUE(at::equal(h, GluForward(gate, up, form)));
      }
    }
  }
}

TEST_P(Kernel, SoftCapIsATanhOfTheShareOfTheCap) {
  const at::Tensor x = Input(1, 4.0), capped = x.clone();
  const auto plain = [](const at::Tensor& in) { return at::tanh(in / 2.5) * 2.5; };
  SoftCapInPlace(capped, 2.5);
  ExpectNear("x", capped, plain(Wide(x)), plain(x.cpu()));
}

TEST_P(Kernel, CrossEntropySlicesCombineToTheWholeVocabulary) {
  const at::Tensor logits = Input(1, 3.0);
  const int64_t vocab = columns(), split = vocab / 3;
  const at::Tensor targets =
      at::arange(rows(), at::kLong).mul(7919).remainder(vocab).to(TestDevice());
  const at::Tensor leaf = Leaf(logits, at::kDouble);
  const at::Tensor losses = at::nll_loss(at::log_softmax(leaf, -1), targets.cpu(), {}, 0, -100);
  // Another for each row, one of them zero, some negative.
  const at::Tensor coefficients = (at::arange(rows(), at::kLong) - 2).to(statistics_type()) * 0.37;
  (losses * coefficients).sum().backward();

  at::Tensor max, sum, target;  // of the slices seen so far
  std::vector<std::tuple<int64_t, int64_t>> slices = {{0, split}, {split, vocab - split}};
  for (const auto& [offset, size] : slices) {
    if (size == 0) continue;
    const at::Tensor stats =
        CrossEntropyStats(logits.narrow(1, offset, size).contiguous(), targets, offset);
    ASSERT_EQ(stats.sizes(), (std::vector<int64_t>{rows(), 3}));
    ASSERT_EQ(stats.scalar_type(), statistics_type());
    const at::Tensor m = Wide(stats.select(1, 0)), s = Wide(stats.select(1, 1)),
                     t = Wide(stats.select(1, 2));
    EXPECT_TRUE(at::equal(m, Wide(logits.narrow(1, offset, size).amax(1))));
    if (!max.defined()) {
      std::tie(max, sum, target) = std::tuple(m, s, t);
      continue;
    }
    const at::Tensor both = at::maximum(max, m);
    sum = sum * (max - both).exp() + s * (m - both).exp();
    max = both;
    target = target + t;
  }
  const at::Tensor lse = max + sum.log();
  EXPECT_LE(RelativeError(lse - target, losses), type() == at::kDouble ? 1e-12 : 1e-5);

  for (const auto& [offset, size] : slices) {
    if (size == 0) continue;
    at::Tensor d = logits.narrow(1, offset, size).contiguous();
    CrossEntropyBackwardInPlace(d, lse.to(TestDevice(), statistics_type()), targets, offset,
                                coefficients.to(TestDevice()));
    const at::Tensor exact = leaf.grad().narrow(1, offset, size);
    const at::Tensor bound = exact.abs() * (type() == at::kBFloat16 ? 0.005
                                            : type() == at::kFloat  ? 1e-5
                                                                    : 1e-11);
    EXPECT_TRUE(((Wide(d) - exact).abs() <= bound + (type() == at::kDouble ? 1e-15 : 1e-7))
                    .all()
                    .item<bool>());
  }
}

TEST_P(Kernel, AccumulateAddsInTheAccumulatorsDtype) {
  const at::Tensor value = Input(1), before = Randn({rows(), columns()}, statistics_type(), 2);
  at::Tensor accumulator = before.clone();
  AccumulateInto(accumulator, value);
  EXPECT_TRUE(at::equal(accumulator, before + value.to(statistics_type())));
}

TEST_P(Kernel, DropoutFollowsTheDocumentedBitsForEveryTokenSubsetAndFeatureSlice) {
  const double p = 0.3;
  const DropoutKey key{StepKey(42, 7), StreamOfName("model.layers.0.mlp")};
  const at::Tensor x = Input(1);
  const at::Tensor tokens = (at::arange(rows(), at::kLong) * 5 + 11).to(TestDevice());
  at::Tensor expected = Wide(x).clone();
  for (int64_t t = 0; t < rows(); ++t) {
    for (int64_t j = 0; j < columns(); ++j) {
      const uint64_t index = static_cast<uint64_t>((5 * t + 11) * columns() + j);
      const uint32_t bits = Philox4x32(key.key, index / 4, key.stream).x[index % 4];
      double& value = expected.mutable_data_ptr<double>()[t * columns() + j];
      value = UniformFromBits(bits) >= static_cast<float>(p) ? value / (1 - p) : 0.0;
    }
  }
  const at::Tensor whole = Dropout(x, tokens, p, key, 0, columns());
  EXPECT_TRUE(at::equal(Wide(whole) == 0, expected == 0));
  EXPECT_LE(RelativeError(whole, expected), type() == at::kBFloat16 ? 0.004
                                            : type() == at::kFloat  ? 1e-7
                                                                    : 1e-15);

  const int64_t offset = columns() / 3, width = columns() - offset, first = rows() / 2;
  const at::Tensor part =
      Dropout(x.narrow(0, first, rows() - first).narrow(1, offset, width).contiguous(),
              tokens.narrow(0, first, rows() - first).contiguous(), p, key, offset, columns());
  EXPECT_TRUE(at::equal(part, whole.narrow(0, first, rows() - first).narrow(1, offset, width)));
}

TEST_P(Kernel, CrossEntropysGradientGoesThroughTheSoftCap) {
  const at::Tensor logits = Input(1, 3.0), capped = logits.clone();
  const at::Tensor targets = at::arange(rows(), at::kLong).remainder(columns());
  const double cap = 2.5;
  SoftCapInPlace(capped, cap);
  const at::Tensor seen = Wide(capped), lse = seen.logsumexp(-1);
  const at::Tensor target = at::one_hot(targets, columns()).to(at::kDouble);
  // Of the capped logits as they were stored.
  const at::Tensor exact = (seen.softmax(-1) - target) * (1 - (seen / cap).square());
  CrossEntropyBackwardInPlace(capped, lse.to(TestDevice(), statistics_type()),
                              targets.to(TestDevice()), 0,
                              at::ones_like(lse).to(TestDevice(), statistics_type()), cap);
  const double rounding = type() == at::kBFloat16 ? 0.005 : type() == at::kFloat ? 1e-5 : 1e-11;
  const at::Tensor bound = exact.abs() * rounding + (type() == at::kDouble ? 1e-15 : 1e-6);
  EXPECT_TRUE(((Wide(capped) - exact).abs() <= bound).all().item<bool>());
  if (type() != at::kDouble) return;
  const at::Tensor leaf = Leaf(logits, at::kDouble);
  const at::Tensor scores = at::log_softmax(at::tanh(leaf / cap) * cap, -1);
  at::nll_loss(scores, targets, {}, /*reduction=*/2, -100).backward();
  EXPECT_LE((Wide(capped) - leaf.grad()).abs().max().item<double>(), 1e-12);
}

std::string KernelName(const testing::TestParamInfo<Kernel::ParamType>& info) {
  const auto [shape, type] = info.param;
  return std::to_string(shape.rows) + "x" + std::to_string(shape.columns) + "_" +
         c10::toString(type);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Kernel,
                         testing::Combine(testing::Values(Shape{1, 1}, Shape{3, 7}, Shape{5, 16},
                                                          Shape{2, 33}, Shape{67, 96},
                                                          Shape{130, 1003}),
                                          testing::Values(at::kDouble, at::kFloat, at::kBFloat16)),
                         KernelName);

class Rope : public testing::TestWithParam<std::tuple<int64_t, at::ScalarType>> {};

TEST_P(Rope, RotatesHalvesByThePositionsAngleAndInverseIsTheTranspose) {
  const auto [head_dim, type] = GetParam();
  const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor positions = at::tensor({0, 1, 2, 0, 5}, at::kLong);
  const at::Tensor angles = at::arange(6, at::kDouble).unsqueeze(1) *
                            at::arange(1, head_dim / 2 + 1, at::kDouble).pow(-0.7).unsqueeze(0);
  const at::Tensor cos = angles.cos().to(wide), sin = angles.sin().to(wide);
  const at::Tensor x = Randn({5, 3, head_dim}, type, 1), dy = Randn({5, 3, head_dim}, type, 2);
  const auto plain = [&](const at::Tensor& in) {
    const at::Tensor c = Wide(cos).index_select(0, positions).repeat({1, 2}).unsqueeze(1);
    const at::Tensor s = Wide(sin).index_select(0, positions).repeat({1, 2}).unsqueeze(1);
    const auto halves = in.chunk(2, -1);
    return in * c + at::cat({-halves[1], halves[0]}, -1) * s;
  };
  const at::Tensor leaf = Leaf(x, at::kDouble), exact = plain(leaf);
  exact.backward(Wide(dy));

  const double bound = type == at::kBFloat16 ? 0.004 : type == at::kFloat ? 1e-6 : 1e-14;
  const auto rotate = [&](const at::Tensor& in, bool inverse) {
    at::Tensor copy = in.clone();
    RopeInPlace(copy, cos.to(TestDevice()), sin.to(TestDevice()), positions.to(TestDevice()),
                inverse);
    return copy;
  };
  EXPECT_LE(RelativeError(rotate(x, false), exact), bound);
  EXPECT_LE(RelativeError(rotate(dy, true), leaf.grad()), bound);
}

TEST_P(Rope, TurnsAPartOfLongerHeadsAndNeighbouringPairs) {
  const auto& [turned, type] = GetParam();
  const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor positions = at::tensor({0, 4, 2}, at::kLong).to(TestDevice());
  const at::Tensor angles = Randn({5, turned / 2}, wide, 3);
  const at::Tensor cos = angles.cos(), sin = angles.sin(), x = Randn({3, 2, turned + 3}, type, 1);
  const at::Tensor part = x.narrow(2, 0, turned).contiguous();
  const auto rotated = [&](at::Tensor in, bool interleaved) {
    RopeInPlace(in, cos, sin, positions, /*inverse=*/false, interleaved);
    return in;
  };
  const at::Tensor halves = rotated(x.clone(), false);
  EXPECT_TRUE(at::equal(halves.narrow(2, 0, turned), rotated(part.clone(), false)));
  EXPECT_TRUE(at::equal(halves.narrow(2, turned, 3), x.narrow(2, turned, 3)));
  // Neighbours are halves in another order.
  const at::Tensor apart =
      part.view({3, 2, turned / 2, 2}).transpose(2, 3).reshape({3, 2, turned}).contiguous();
  const at::Tensor together =
      rotated(apart, false).view({3, 2, 2, turned / 2}).transpose(2, 3).reshape({3, 2, turned});
  const at::Tensor neighbours = rotated(x.clone(), true);
  EXPECT_TRUE(at::equal(neighbours.narrow(2, 0, turned), together));
  EXPECT_TRUE(at::equal(neighbours.narrow(2, turned, 3), x.narrow(2, turned, 3)));
  // The last elements in place of the first.
  for (const bool interleaved : {false, true}) {
    at::Tensor behind = at::cat({x.narrow(2, turned, 3), x.narrow(2, 0, turned)}, 2);
    RopeInPlace(behind, cos, sin, positions, /*inverse=*/false, interleaved, /*first=*/3);
    const at::Tensor before = interleaved ? neighbours : halves;
    EXPECT_TRUE(at::equal(behind.narrow(2, 3, turned), before.narrow(2, 0, turned)));
    EXPECT_TRUE(at::equal(behind.narrow(2, 0, 3), x.narrow(2, turned, 3)));
  }
}

INSTANTIATE_TEST_SUITE_P(HeadDims, Rope,
                         testing::Combine(testing::Values(2, 6, 40, 64, 128),
                                          testing::Values(at::kDouble, at::kFloat, at::kBFloat16)));

TEST(Dropout, KeepsTheStatedShareAndEveryStreamDiffers) {
  const at::Tensor x = at::ones({500, 200}, TestDevice());
  const at::Tensor tokens = at::arange(500, at::kLong).to(TestDevice());
  const at::Tensor a = Dropout(x, tokens, 0.1, {1, 2}, 0, 200),
                   b = Dropout(x, tokens, 0.1, {1, 3}, 0, 200);
  const double kept = (a != 0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(kept, 0.9, 5 * std::sqrt(0.09 / 1e5));  // five standard deviations
  EXPECT_NEAR((a == b).to(at::kDouble).mean().item<double>(), 0.82, 0.01);
  EXPECT_TRUE(at::equal(Dropout(x, tokens, 0.0, {1, 2}, 0, 200), x));
}

TEST(Kernels, RefuseShapesAndDtypesThatDoNotFit) {
  const at::Tensor x = at::ones({4, 8}, TestDevice()), half_wide = at::ones({4, 4}, TestDevice());
  const at::Tensor weight = at::ones({8}, TestDevice());
  EXPECT_THROW(NormForward(x, at::ones({7}, TestDevice()), kEps), c10::Error);
  EXPECT_THROW(NormForward(x, weight.to(at::kDouble), kEps), c10::Error);
  EXPECT_THROW(NormForward(x.t(), at::ones({4}, TestDevice()), kEps), c10::Error);
  EXPECT_THROW(NormForward(x.to(at::kInt), weight.to(at::kInt), kEps), c10::Error);
  EXPECT_THROW(GluForward(x, half_wide), c10::Error);
  EXPECT_THROW(AccumulateInto(x, half_wide), c10::Error);
  const at::Tensor targets = at::zeros({4}, x.options().dtype(at::kLong));
  EXPECT_THROW(CrossEntropyStats(x, targets.narrow(0, 0, 3), 0), c10::Error);
  const at::Tensor each = at::ones({4}, TestDevice());
  EXPECT_THROW(CrossEntropyBackwardInPlace(x, each, targets, 0, each.narrow(0, 0, 3)), c10::Error);
}

}  // namespace
}  // namespace fttrain

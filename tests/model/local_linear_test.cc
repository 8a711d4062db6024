#include "model/local_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/philox.h"
#include "tests/model/oracle.h"

namespace fttrain {
namespace {

constexpr int64_t kIn = 24, kOut = 16, kTokens = 7;
constexpr char kName[] = "model.layers.3.mlp.up_proj";
constexpr char kA[] = "base_model.model.model.layers.3.mlp.up_proj.lora_A.weight";
constexpr char kB[] = "base_model.model.model.layers.3.mlp.up_proj.lora_B.weight";

struct Case {
  std::string name;
  bool bias = false, train_base = false, use_lora = false, rslora = false;
  double dropout = 0.0;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

LoraOptions Lora(const Case& c) {
  return {.r = 4, .alpha = 6.0, .dropout = c.dropout, .use_rslora = c.rslora};
}

// The layer cut in `shards` pieces; each is what one tp rank holds.
struct Shard {
  ParameterSet set;
  std::unique_ptr<LocalLinear> linear;
};

Shard MakeShard(const Case& c, LinearSplit split, int shards, int rank) {
  Shard shard;
  LinearSpec spec;
  spec.name = kName;
  spec.in = kIn;
  spec.out = kOut;
  spec.split = split;
  spec.range = EvenRange(split == LinearSplit::kColumn ? kOut : kIn, shards, rank);
  spec.tensor_parallel = shards > 1;
  spec.bias = c.bias;
  spec.add_bias = split == LinearSplit::kColumn || rank == 0;
  const LoraOptions lora = Lora(c);
  shard.linear = std::make_unique<LocalLinear>(spec, at::kDouble, c.train_base,
                                               c.use_lora ? &lora : nullptr, shard.set);
  AllocateForTest(shard.set);
  return shard;
}

DropoutContext SomeStep() {
  return {.step_key = StepKey(7, 3), .token_index = at::arange(kTokens, at::kLong) * 5 + 11};
}

at::Tensor Part(const at::Tensor& whole, int64_t dim, const Range& range) {
  return whole.detach().narrow(dim, range.offset, range.extent).contiguous();
}

class LocalLinearOption : public ::testing::TestWithParam<std::tuple<Case, LinearSplit, int>> {};

TEST_P(LocalLinearOption, ShardsTogetherEqualTheWholeLayerInFloat64) {
  const auto& [c, split, shards] = GetParam();
  const bool column = split == LinearSplit::kColumn;
  OracleModel oracle;
  oracle.options.lora = Lora(c);
  oracle.params = SeededTensors(MakeShard(c, split, 1, 0).set);
  const at::Tensor x = SeededTensor({kTokens, kIn}, "x");
  const at::Tensor dy = SeededTensor({kTokens, kOut}, "dy").detach();
  const DropoutContext dropout = SomeStep();
  const at::Tensor want = OracleLinear(oracle, kName, x, dropout);
  want.backward(dy);

  at::Tensor y = at::zeros({kTokens, kOut}, at::kDouble);
  at::Tensor dx = at::zeros({kTokens, kIn}, at::kDouble);
  NamedTensors partial;  // sums of what every shard computed of a gradient all of them hold
  for (int rank = 0; rank < shards; ++rank) {
    Shard shard = MakeShard(c, split, shards, rank);
    CopyValues(shard.set, oracle.params);
    const Range range = shard.linear->spec().range;
    const at::Tensor x_local = column ? x.detach() : Part(x, 1, range);
    const at::Tensor dy_local = column ? Part(dy, 1, range) : dy;
    at::Tensor y_local = column ? y.narrow(1, range.offset, range.extent) : y;
    y_local.add_(shard.linear->Forward(x_local, dropout));
    at::Tensor dx_local;
    const at::Tensor dlow = shard.linear->BackwardInput(dy_local, dropout, dx_local);
    EXPECT_EQ(dlow.defined(), c.use_lora);
    EXPECT_EQ(shard.linear->HasTrainable(), c.use_lora || c.train_base);
    (column ? dx : dx.narrow(1, range.offset, range.extent)).add_(dx_local);
    shard.linear->BackwardParams(dy_local, dlow, x_local, dropout);
    for (const Parameter* parameter : shard.set.Trainable()) {
      const std::string& name = parameter->slice.name;
      if (parameter->tp_gradient == TpGradient::kPartial) {
        at::Tensor& sum = partial[name];
        sum = sum.defined() ? sum + parameter->grad : parameter->grad;
      } else {
        const at::Tensor expected = LocalPart(oracle.params.at(name).grad(), parameter->slice);
        EXPECT_LE(RelativeError(parameter->grad, expected), 1e-10) << name;
      }
    }
  }
  EXPECT_LE(RelativeError(y, want), 1e-10);
  EXPECT_LE(RelativeError(dx, x.grad()), 1e-10);
  EXPECT_EQ(partial.size(), c.use_lora && shards > 1 ? 1u : 0u);
  for (const auto& [name, sum] : partial) {
    EXPECT_EQ(name, column ? kA : kB);
    EXPECT_LE(RelativeError(sum, oracle.params.at(name).grad()), 1e-10) << name;
  }
}

std::string OptionName(const ::testing::TestParamInfo<std::tuple<Case, LinearSplit, int>>& test) {
  const auto& [c, split, shards] = test.param;
  return c.name + (split == LinearSplit::kColumn ? "Column" : "Row") + std::to_string(shards);
}

INSTANTIATE_TEST_SUITE_P(
    Options, LocalLinearOption,
    ::testing::Combine(
        ::testing::Values(Case{.name = "Frozen"}, Case{.name = "FrozenWithBias", .bias = true},
                          Case{.name = "TrainBase", .bias = true, .train_base = true},
                          Case{.name = "Lora", .use_lora = true},
                          Case{.name = "LoraWithBias", .bias = true, .use_lora = true},
                          Case{.name = "RsLora", .use_lora = true, .rslora = true},
                          Case{.name = "LoraDropout", .use_lora = true, .dropout = 0.4},
                          Case{.name = "LoraAndBase",
                               .bias = true,
                               .train_base = true,
                               .use_lora = true,
                               .dropout = 0.1}),
        ::testing::Values(LinearSplit::kColumn, LinearSplit::kRow), ::testing::Values(1, 2, 4)),
    OptionName);

TEST(LocalLinear, InputGradientAddsToOneThatExists) {
  const Case c{.name = "", .use_lora = true, .dropout = 0.3};
  Shard shard = MakeShard(c, LinearSplit::kColumn, 1, 0);
  CopyValues(shard.set, SeededTensors(shard.set));
  const at::Tensor dy = SeededTensor({kTokens, kOut}, "dy").detach();
  at::Tensor alone, added = at::ones({kTokens, kIn}, at::kDouble);
  shard.linear->BackwardInput(dy, SomeStep(), alone);
  shard.linear->BackwardInput(dy, SomeStep(), added);
  EXPECT_LE(RelativeError(added - 1.0, alone), 1e-12);
}

TEST(LocalLinear, GradientsOfMicrobatchesAddUp) {
  const Case c{.name = "", .bias = true, .train_base = true, .use_lora = true};
  Shard shard = MakeShard(c, LinearSplit::kRow, 1, 0);
  CopyValues(shard.set, SeededTensors(shard.set));
  const at::Tensor x = SeededTensor({kTokens, kIn}, "x").detach();
  const at::Tensor dy = SeededTensor({kTokens, kOut}, "dy").detach();
  NamedTensors once;
  for (int microbatch = 0; microbatch < 2; ++microbatch) {
    at::Tensor dx;
    shard.linear->BackwardParams(dy, shard.linear->BackwardInput(dy, {}, dx), x, {});
    for (const Parameter* parameter : shard.set.Trainable()) {
      if (microbatch == 0) once[parameter->slice.name] = parameter->grad.clone();
      EXPECT_LE(RelativeError(parameter->grad, once[parameter->slice.name] * (microbatch + 1.0)),
                1e-12);
    }
  }
  EXPECT_EQ(once.size(), 4u);
}

TEST(LocalLinear, WithoutTokenIndexNothingIsDropped) {
  const Case c{.name = "", .use_lora = true, .dropout = 0.5};
  Shard shard = MakeShard(c, LinearSplit::kColumn, 1, 0);
  OracleModel oracle;
  oracle.options.lora = Lora(c);
  oracle.params = SeededTensors(shard.set);
  CopyValues(shard.set, oracle.params);
  const at::Tensor x = SeededTensor({kTokens, kIn}, "x").detach();
  EXPECT_LE(RelativeError(shard.linear->Forward(x, {}), OracleLinear(oracle, kName, x, {})), 1e-12);
}

TEST(LocalLinear, RefusesAnInputOfAnotherWidth) {
  Shard shard = MakeShard({}, LinearSplit::kColumn, 1, 0);
  EXPECT_THROW(shard.linear->Forward(at::zeros({kTokens, kIn + 1}, at::kDouble), {}), c10::Error);
}

TEST(LocalLinear, InBfloat16AdapterFactorsAndGradientsStayFloat32) {
  ParameterSet set;
  const LoraOptions lora;
  LinearSpec spec;
  spec.name = kName;
  spec.in = kIn;
  spec.out = kOut;
  spec.range = {0, kOut};
  const LocalLinear linear(spec, at::kBFloat16, /*train_base=*/true, &lora, set);
  EXPECT_EQ(set.Find(std::string(kName) + ".weight")->dtype, at::kBFloat16);
  EXPECT_EQ(set.Find(kA)->dtype, at::kFloat);
  EXPECT_EQ(set.Find(kB)->dtype, at::kFloat);
  AllocateForTest(set);
  CopyValues(set, SeededTensors(set));
  const at::Tensor x = SeededTensor({kTokens, kIn}, "x").detach().to(at::kBFloat16);
  const at::Tensor y = linear.Forward(x, {});
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  at::Tensor dx;
  linear.BackwardParams(y, linear.BackwardInput(y, {}, dx), x, {});
  EXPECT_EQ(dx.scalar_type(), at::kBFloat16);
  for (const Parameter* parameter : set.Trainable()) {
    EXPECT_EQ(parameter->grad.scalar_type(), at::kFloat) << parameter->slice.name;
    EXPECT_GT(parameter->grad.abs().max().item<double>(), 0.0) << parameter->slice.name;
  }
}

TEST(InitializeAdapters, DrawsFactorAWithinItsBoundAndSetsBToZero) {
  const Case c{.name = "", .use_lora = true};
  Shard shard = MakeShard(c, LinearSplit::kRow, 1, 0);
  shard.set.Find(kB)->value.fill_(1.0);
  InitializeAdapters(shard.set, 42);
  const at::Tensor a = shard.set.Find(kA)->value;
  const double bound = 1.0 / std::sqrt(double(kIn));
  EXPECT_LE(a.abs().max().item<double>(), bound);
  EXPECT_GT(a.abs().max().item<double>(), 0.9 * bound);
  EXPECT_NEAR(a.mean().item<double>(), 0.0, 0.15 * bound);
  EXPECT_EQ(shard.set.Find(kB)->value.abs().max().item<double>(), 0.0);
  const at::Tensor first = a.clone();
  InitializeAdapters(shard.set, 43);
  EXPECT_GT((a - first).abs().max().item<double>(), 0.0);
}

TEST(InitializeAdapters, EverySliceHoldsTheValuesOfTheWholeFactor) {
  const Case c{.name = "", .use_lora = true};
  Shard whole = MakeShard(c, LinearSplit::kRow, 1, 0);
  InitializeAdapters(whole.set, 42);
  for (int rank = 0; rank < 3; ++rank) {
    Shard shard = MakeShard(c, LinearSplit::kRow, 3, rank);
    InitializeAdapters(shard.set, 42);
    const Parameter& a = *shard.set.Find(kA);
    EXPECT_TRUE(at::equal(a.value, LocalPart(whole.set.Find(kA)->value, a.slice))) << rank;
  }
}

}  // namespace
}  // namespace fttrain

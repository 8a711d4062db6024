#include "model/linears/linears.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/linears/peft_names.h"
#include "runtime/math/philox.h"
#include "runtime/memory/ledger.h"
#include "tests/model/oracle.h"

namespace fttrain {
namespace {

constexpr int64_t kIn = 24, kOut = 16, kTokens = 7;
constexpr char kName[] = "model.layers.3.mlp.up_proj";
constexpr char kA[] = "base_model.model.model.layers.3.mlp.up_proj.lora_A.weight";
constexpr char kB[] = "base_model.model.model.layers.3.mlp.up_proj.lora_B.weight";

struct Case {
  bool bias = false, train_base = false, use_lora = false;
  std::optional<Nf4Options> nf4 = std::nullopt;
};

// The layer cut in `shards` pieces; each is what one tp rank holds.
struct Shard {
  ParameterSet set;
  std::unique_ptr<Linears> linear;
};

Shard MakeShard(const Case& c, LinearSplit split, int shards, int rank,
                at::ScalarType compute = at::kDouble) {
  Shard shard;
  const LinearSpec spec = {.name = kName, .in = kIn, .out = kOut, .split = split, .bias = c.bias};
  ParameterForm form = {.compute = compute, .train_base = c.train_base};
  form.nf4 = c.nf4;
  if (c.use_lora) form.adapter = {.r = 4, .alpha = 6.0, .target_modules = {{"up_proj"}}};
  const TensorRank tp = {rank, shards};
  DeclareLinear(spec, form, tp, shard.set);
  shard.linear = std::make_unique<Linears>(std::vector{spec}, form, tp, shard.set);
  AllocateForTest(shard.set);
  return shard;
}

// What a linear gives in a step: y, dx and the gradients of the adapter.
std::vector<at::Tensor> RunStep(Shard& shard, at::ScalarType dtype) {
  const at::Tensor x = SeededTensor({kTokens, kIn}, "x").detach().to(dtype);
  const at::Tensor dy = SeededTensor({kTokens, kOut}, "dy").detach().to(dtype);
  const at::Tensor y = shard.linear->Forward(x, {}).front();
  at::Tensor dx;
  shard.linear->BackwardParams({dy}, shard.linear->BackwardInput({dy}, {}, dx), x, {});
  return {y, dx, shard.set.Find(kA)->grad, shard.set.Find(kB)->grad};
}

class Nf4Linear : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  static void SetUpTestSuite() { InstallMemoryLedger(); }
};

TEST_P(Nf4Linear, EqualsTheDenseLinearOverTheDequantisedWeight) {
  const at::ScalarType dtype = GetParam();
  const Case dense{.bias = true, .use_lora = true};
  for (const at::ScalarType rounding : {at::kFloat, at::kBFloat16, at::kHalf}) {
    Case packed = dense;
    packed.nf4 = Nf4Options{.rounding = rounding};
    Shard got = MakeShard(packed, LinearSplit::kColumn, 1, 0, dtype);
    Shard want = MakeShard(dense, LinearSplit::kColumn, 1, 0, dtype);
    NamedTensors params = SeededTensors(got.set);
    QuantizeValues(got.set, *packed.nf4, params);
    CopyValues(got.set, params);
    CopyValues(want.set, params);
    const std::vector<at::Tensor> results = RunStep(got, dtype), expected = RunStep(want, dtype);
    for (size_t i = 0; i < results.size(); ++i) {
      // One product in float32 is one GEMM or several blocks of it.
      const double rounding_error = dtype == at::kFloat ? 1e-6 : 0.0;
      EXPECT_LE(RelativeError(results[i], expected[i]), rounding_error) << i << " " << rounding;
    }
  }
}

TEST_P(Nf4Linear, HeldWeightsGiveTheSameResults) {
  const Case c{.bias = true, .use_lora = true, .nf4 = Nf4Options()};
  const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
  std::vector<at::Tensor> results[2];
  for (const bool held : {false, true}) {
    Shard shard = MakeShard(c, LinearSplit::kRow, 1, 0, GetParam());
    NamedTensors params = SeededTensors(shard.set);
    QuantizeValues(shard.set, *c.nf4, params);
    CopyValues(shard.set, params);
    if (held) {
      shard.linear->Hold(true);
      const at::ScalarType dtype = ExpandsBlocks(at::kCPU, GetParam()) ? at::kFloat : GetParam();
      EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes - before,
                kOut * kIn * static_cast<int64_t>(c10::elementSize(dtype)));
      // Whatever a later call sees is what was held.
      shard.set.Find(std::string(kName) + ".weight")->value.zero_();
    }
    results[held] = RunStep(shard, GetParam());
    shard.linear->Hold(false);
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    const double rounding_error = GetParam() == at::kFloat ? 1e-6 : 0.0;
    EXPECT_LE(RelativeError(results[1][i], results[0][i]), rounding_error) << i;
  }
  EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes, before);
}

INSTANTIATE_TEST_SUITE_P(Compute, Nf4Linear,
                         ::testing::Values(at::kDouble, at::kFloat, at::kBFloat16),
                         [](const auto& test) { return std::string(c10::toString(test.param)); });

// Two column-split linears of one input with adapters, or one.
class HeldFactors : public ::testing::TestWithParam<std::tuple<at::ScalarType, double, int>> {
 protected:
  static void SetUpTestSuite() { InstallMemoryLedger(); }
  HeldFactors() : count_(std::get<2>(GetParam())) {
    const auto& [compute, dropout, count] = GetParam();
    form_ = {.compute = compute};
    form_.adapter = {.r = 4, .alpha = 6.0, .dropout = dropout, .target_modules = {{"up_proj"}}};
    form_.adapter->rank_pattern = {{"layers.1.up_proj", 3}};
    form_.adapter->alpha_pattern = {{"layers.1.up_proj", 2.0}};
    for (int i = 0; i < count; ++i) {
      specs_.push_back(
          {.name = "layers." + std::to_string(i) + ".up_proj", .in = kIn, .out = kOut});
      DeclareLinear(specs_.back(), form_, {}, set_);
    }
    linears_ = std::make_unique<Linears>(specs_, form_, TensorRank{}, set_);
    AllocateForTest(set_);
    CopyValues(set_, SeededTensors(set_));
  }
  // y, dx and the gradients, which begin at zero.
  std::vector<at::Tensor> RunStep() {
    const at::ScalarType dtype = form_.compute;
    const at::Tensor x = SeededTensor({kTokens, kIn}, "x").detach().to(dtype);
    const std::vector<at::Tensor> dy(count_,
                                     SeededTensor({kTokens, kOut}, "dy").detach().to(dtype));
    const DropoutContext dropout = {StepKey(9, 4), at::arange(kTokens, at::kLong)};
    std::vector<at::Tensor> results = linears_->Forward(x, dropout);
    for (const Parameter* parameter : set_.Trainable()) parameter->grad.zero_();
    at::Tensor dx;
    const at::Tensor dlow = linears_->BackwardInput(dy, dropout, dx);
    linears_->BackwardParams(dy, dlow, x, dropout);
    results.push_back(dx);
    for (const Parameter* parameter : set_.Trainable()) results.push_back(parameter->grad.clone());
    return results;
  }

  size_t count_;
  ParameterForm form_;
  std::vector<LinearSpec> specs_;
  ParameterSet set_;
  std::unique_ptr<Linears> linears_;
};

TEST_P(HeldFactors, GiveTheSameBitsAndTakeWhatIsCounted) {
  const std::vector<at::Tensor> want = RunStep();
  const int64_t before = MemoryOf(MemoryCategory::kAdapters).current_bytes;
  const int64_t counted = FactorCopyBytes(specs_, form_, {}, at::kCPU);
  linears_->HoldFactors(true);
  EXPECT_EQ(MemoryOf(MemoryCategory::kAdapters).current_bytes - before, counted);
  const std::vector<at::Tensor> got = RunStep();
  for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(at::equal(got[i], want[i])) << i;

  for (const Parameter* parameter : set_.Trainable()) parameter->value.mul_(2.0);
  const at::Tensor held = RunStep().front();
  linears_->HoldFactors(false);
  EXPECT_EQ(MemoryOf(MemoryCategory::kAdapters).current_bytes, before);
  const at::Tensor changed = RunStep().front();
  EXPECT_EQ(at::equal(held, changed), counted == 0) << "what is copied is not seen to change";
  linears_->HoldFactors(true);
  EXPECT_TRUE(at::equal(RunStep().front(), changed));
}

std::string NameOfForm(const ::testing::TestParamInfo<HeldFactors::ParamType>& test) {
  const auto& [compute, dropout, count] = test.param;
  return std::string(c10::toString(compute)) + (dropout > 0 ? "Dropout" : "") +
         std::to_string(count);
}
INSTANTIATE_TEST_SUITE_P(Forms, HeldFactors,
                         ::testing::Combine(::testing::Values(at::kDouble, at::kFloat,
                                                              at::kBFloat16),
                                            ::testing::Values(0.0, 0.3), ::testing::Values(1, 2)),
                         NameOfForm);

TEST(FactorCopies, AreOfAStackInTheFactorsDtypeOrOfAllThatProductsConvert) {
  const LinearSpec q = {.name = "q_proj", .in = 64, .out = 32, .unit = 8};
  const LinearSpec k = {.name = "k_proj", .in = 64, .out = 8, .unit = 8, .may_share = true};
  const LinearSpec o = {.name = "o_proj", .in = 32, .out = 64, .split = LinearSplit::kRow};
  ParameterForm form = {.compute = at::kFloat};
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {}, at::kCUDA), 0) << "no adapters";
  form.adapter = {.r = 4, .target_modules = {{"q_proj", "k_proj", "o_proj"}}};
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {}, at::kCUDA), 4 * 4 * (64 + 64));
  EXPECT_EQ(FactorCopyBytes({o}, form, {}, at::kCUDA), 0) << "one is no stack";
  form.compute = at::kBFloat16;
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {}, at::kCUDA), 2 * 4 * (64 + 64 + 32 + 8));
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {0, 2}, at::kCUDA), 2 * 4 * (64 + 64 + 16 + 8));
  EXPECT_EQ(FactorCopyBytes({o}, form, {0, 2}, at::kCUDA), 2 * 4 * (16 + 64));
  form.adapter->target_modules = {{"k_proj"}};
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {}, at::kCUDA), 2 * 4 * (64 + 8));
  form.adapter->dropout = 0.1;
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {}, at::kCUDA), 2 * 4 * (64 + 8));
  form.adapter->target_modules = {{"q_proj", "k_proj"}};
  form.compute = at::kFloat;
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {}, at::kCUDA), 0) << "dropout reads no stack";
  form.adapter->dropout = 0;
  form.adapter->rank_pattern = {{"k_proj", 7}};
  EXPECT_EQ(FactorCopyBytes({q, k}, form, {}, at::kCUDA), 4 * (4 * 64 + 7 * 64));
}

TEST(Linears, RefusesToTrainAnNf4Weight) {
  const Case c{.train_base = true, .nf4 = Nf4Options()};
  EXPECT_THROW(MakeShard(c, LinearSplit::kColumn, 1, 0), c10::Error);
}

TEST(Linears, Nf4WeightsAreBytesUnderTheNameAndShapeOfTheWeight) {
  Shard shard = MakeShard({.bias = true, .nf4 = Nf4Options()}, LinearSplit::kRow, 4, 1);
  const Parameter& weight = *shard.set.Find(std::string(kName) + ".weight");
  EXPECT_EQ(weight.slice.global_shape, (std::vector<int64_t>{kOut, kIn}));
  EXPECT_EQ(weight.packed_bytes, MakeNf4Layout(weight.slice, {}).bytes);
  EXPECT_EQ(weight.value.scalar_type(), at::kByte);
  EXPECT_EQ(weight.value.sizes(), (std::vector<int64_t>{weight.packed_bytes}));
  EXPECT_EQ(shard.set.Find(std::string(kName) + ".bias")->dtype, at::kDouble);
}

TEST(Linears, RefusesAnInputOfAnotherWidth) {
  Shard shard = MakeShard({}, LinearSplit::kColumn, 1, 0);
  EXPECT_THROW(shard.linear->Forward(at::zeros({kTokens, kIn + 1}, at::kDouble), {}), c10::Error);
}

TEST(Linears, InBfloat16AdapterFactorsAndGradientsStayFloat32) {
  const Case c{.train_base = true, .use_lora = true};
  Shard shard = MakeShard(c, LinearSplit::kColumn, 1, 0, at::kBFloat16);
  const ParameterSet& set = shard.set;
  EXPECT_EQ(set.Find(std::string(kName) + ".weight")->dtype, at::kBFloat16);
  EXPECT_EQ(set.Find(kA)->dtype, at::kFloat);
  EXPECT_EQ(set.Find(kB)->dtype, at::kFloat);
  CopyValues(shard.set, SeededTensors(set));
  const at::Tensor x = SeededTensor({kTokens, kIn}, "x").detach().to(at::kBFloat16);
  const at::Tensor y = shard.linear->Forward(x, {}).front();
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  at::Tensor dx;
  shard.linear->BackwardParams({y}, shard.linear->BackwardInput({y}, {}, dx), x, {});
  EXPECT_EQ(dx.scalar_type(), at::kBFloat16);
  for (const Parameter* parameter : set.Trainable()) {
    EXPECT_EQ(parameter->grad.scalar_type(), at::kFloat) << parameter->slice.name;
    EXPECT_GT(parameter->grad.abs().max().item<double>(), 0.0) << parameter->slice.name;
  }
}

TEST(InitializeAdapters, DrawsFactorAWithinItsBoundAndSetsBToZero) {
  const Case c{.use_lora = true};
  Shard shard = MakeShard(c, LinearSplit::kRow, 1, 0);
  shard.set.Find(kB)->value.fill_(1.0);
  InitializeAdapters(shard.set.Trainable(), 42);
  const at::Tensor a = shard.set.Find(kA)->value;
  const double bound = 1.0 / std::sqrt(double(kIn));
  EXPECT_LE(a.abs().max().item<double>(), bound);
  EXPECT_GT(a.abs().max().item<double>(), 0.9 * bound);
  EXPECT_NEAR(a.mean().item<double>(), 0.0, 0.15 * bound);
  EXPECT_EQ(shard.set.Find(kB)->value.abs().max().item<double>(), 0.0);
  const at::Tensor first = a.clone();
  InitializeAdapters(shard.set.Trainable(), 43);
  EXPECT_GT((a - first).abs().max().item<double>(), 0.0);
}

TEST(InitializeAdapters, EverySliceHoldsTheValuesOfTheWholeFactor) {
  const Case c{.use_lora = true};
  Shard whole = MakeShard(c, LinearSplit::kRow, 1, 0);
  InitializeAdapters(whole.set.Trainable(), 42);
  for (int rank = 0; rank < 3; ++rank) {
    Shard shard = MakeShard(c, LinearSplit::kRow, 3, rank);
    InitializeAdapters(shard.set.Trainable(), 42);
    const Parameter& a = *shard.set.Find(kA);
    EXPECT_TRUE(at::equal(a.value, a.slice.PartOf(whole.set.Find(kA)->value))) << rank;
  }
}

TEST(SliceOf, CutsWholeUnitsAndSharesOneThatIsTooFew) {
  const LinearSpec keys = {.name = "k", .in = 8, .out = 20, .unit = 10, .may_share = true};
  EXPECT_EQ(SliceOf(keys, {1, 2}).range.offset, 10);
  EXPECT_FALSE(SliceOf(keys, {1, 2}).shared);
  for (int rank = 0; rank < 4; ++rank) {
    const LinearSlice slice = SliceOf(keys, {rank, 4});
    EXPECT_TRUE(slice.shared);
    EXPECT_EQ(slice.range.offset, rank / 2 * 10);
    EXPECT_EQ(slice.range.extent, 10);
  }
  LinearSpec queries = keys;
  queries.may_share = false;
  EXPECT_THROW(SliceOf(queries, {0, 4}), c10::Error);
}

TEST(PeftNames, AreReadAsTheyAreWritten) {
  for (const Factor factor : {Factor::kA, Factor::kB}) {
    const auto name = ParsePeftName(PeftName(kName, factor));
    ASSERT_TRUE(name.has_value());
    EXPECT_EQ(name->module, kName);
    EXPECT_EQ(name->factor, factor);
  }
  EXPECT_EQ(PeftName(kName, Factor::kA), kA);
  for (const char* other : {kName, "model.layers.3.mlp.up_proj.lora_A.weight",
                            "base_model.model.model.layers.3.mlp.up_proj.weight"}) {
    EXPECT_FALSE(ParsePeftName(other).has_value()) << other;
  }
}

}  // namespace
}  // namespace fttrain

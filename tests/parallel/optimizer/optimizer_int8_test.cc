// 8-bit moments in every layout: the same bits as on one rank, the bytes of the closed form, and
// steps that arrive where float32 moments arrive.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <string>
#include <vector>

#include "parallel/optimizer/adamw.h"
#include "parallel/optimizer/adamw_int8.h"
#include "parallel/optimizer/optimizer.h"
#include "runtime/memory/ledger.h"
#include "tests/parallel/optimizer/optimizer_fixture.h"

namespace fttrain {
namespace {

using namespace optimizer_test;  // NOLINT: the fixture's vocabulary

constexpr int kSteps = 6;

// Slices over up to 4 tp ranks are multiples of 256 contiguous elements. The last two keep
// float32 moments: the whole tensor is below 4096 elements.
std::vector<GlobalParam> LargeModel() {
  return {{"owned.rows", {64, 96}, AxisGradient::kOwned, true, 0, 64},
          {"owned.columns", {5, 4096}, AxisGradient::kOwned, true, 1, 4},
          {"shared.two_heads", {32, 256}, AxisGradient::kShared, true, 0, 2},
          {"partial.factor", {7, 777}, AxisGradient::kPartial, true},
          {"identical.norm", {4099}, AxisGradient::kIdentical, false},
          {"small.rows", {12, 256}, AxisGradient::kOwned, true, 0, 12},
          {"small.norm", {4095}, AxisGradient::kPartial, false}};
}

StorageOptions Int8Storage(const Storage& storage) {
  return {.zero_stage = storage.zero_stage, .moments = MomentStorage::kInt8};
}
AdamWOptions Options(const Storage& storage) {
  return {.beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .state_place = storage.place};
}
AdamWStep StepOf(int step, bool weight_decay) {
  return {.step = step + 1,
          .learning_rate = 1e-2,
          .beta1 = 0.9,
          .beta2 = 0.95,
          .weight_decay = weight_decay ? 0.1 : 0.0,
          .grad_scale = 0.5};
}

// The whole tensor's value after kSteps on one rank, by the update alone. float32 or bfloat16.
at::Tensor OneRank(const GlobalParam& p, at::ScalarType dtype) {
  const int64_t n = c10::multiply_integers(p.shape), padded = (n + 255) / 256 * 256;
  const auto flat = [&](const at::Tensor& whole) {
    return at::constant_pad_nd(whole.to(at::kFloat).reshape({n}), {0, padded - n});
  };
  const at::Tensor master = flat(InitialValue(p).to(dtype)), tables = MakeInt8Tables(at::kCPU);
  const at::Tensor wide = at::zeros({padded}), wide_sq = at::zeros({padded});
  const Int8Moments int8 = ZeroInt8Moments(padded, at::kCPU);
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor grad = flat(SumOfUnits(p, step, 0, kUnits));
    if (n >= 4096) {
      AdamWInt8Update(master, grad, int8, {}, tables, StepOf(step, p.weight_decay));
    } else {
      AdamWUpdate(master, grad, wide, wide_sq, {}, StepOf(step, p.weight_decay));
    }
  }
  return master.narrow(0, 0, n).view(p.shape).to(dtype);
}

// Each test runs every (tp, dp) of this world.
class Int8OptimizerOn : public ::testing::TestWithParam<Storage> {
 protected:
  void ExpectBitsOfOneRank(int tp, at::ScalarType dtype) {
    const auto mesh = TestMesh(tp);
    ParameterSet set;
    const std::vector<Parameter*> parameters = DeclareModel(set, *mesh, dtype, LargeModel());
    Rig rig(set, *mesh, Int8Storage(GetParam()), Options(GetParam()));
    FillInitialValues(rig, LargeModel());
    for (int step = 0; step < kSteps; ++step) {
      Backward(rig, parameters, *mesh, step, LargeModel());
      rig.optimizer.SyncGradients();
      rig.optimizer.Step(step, 1e-2, 0.5);
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor want = parameters[i]->slice.PartOf(OneRank(LargeModel()[i], dtype));
      EXPECT_TRUE(at::equal(ValueOf(rig, *parameters[i]), want)) << parameters[i]->slice.name;
    }
  }
};

// bfloat16 has float32 masters.
TEST_P(Int8OptimizerOn, Float32AndBfloat16GiveTheBitsOfOneRank) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int tp : TpSizes()) {
      SCOPED_TRACE(std::string(c10::toString(dtype)) + ", tp " + std::to_string(tp));
      ExpectBitsOfOneRank(tp, dtype);
    }
  }
}

// 2 + 8 / 256 bytes of moments per element of large tensors, 8 of small ones; a float32 master of
// bfloat16 values. Each parameter takes a multiple of 256 elements.
TEST_P(Int8OptimizerOn, LedgerHoldsTheClosedForm) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto mesh = TestMesh(/*tp=*/1);
    const bool on_host = GetParam().place == StatePlace::kHost;
    const auto held = [&] {
      return MemoryOf(MemoryCategory::kOptimizer,
                      on_host ? MemoryPlace::kHost : MemoryPlace::kDevice)
          .current_bytes;
    };
    const int64_t before = held();
    ParameterSet set;
    set.Declare({.slice = WholeParam("large.1", {1000, 77}), .trainable = true, .dtype = dtype});
    set.Declare({.slice = WholeParam("large.2", {4096}), .trainable = true, .dtype = dtype});
    set.Declare({.slice = WholeParam("small", {4095}), .trainable = true, .dtype = dtype});
    const Rig rig(set, *mesh, Int8Storage(GetParam()), Options(GetParam()));
    const int64_t dp = mesh->dp().size(), rank = mesh->dp().rank();
    const int64_t large = 77056 + 4096, small = 4096, align = 256 * dp;
    const int64_t numel = (large + small + align - 1) / align * align;
    const int64_t owned = GetParam().zero_stage > 0 ? numel / dp : numel;
    const int64_t begin = GetParam().zero_stage > 0 ? owned * rank : 0;  // large tensors come first
    const int64_t int8 = std::max<int64_t>(0, std::min(large, begin + owned) - begin);
    const int64_t master = dtype == at::kBFloat16 || on_host ? 4 * owned : 0;
    EXPECT_EQ(held() - before, 2 * int8 + 8 * int8 / 256 + 8 * (owned - int8) + master);
  }
}

INSTANTIATE_TEST_SUITE_P(Storages, Int8OptimizerOn, EveryStorage(), NameOf);

TEST(Int8Optimizer, Float64IsRefusedByTheParametersName) {
  const auto mesh = Mesh::Single();
  ParameterSet set;
  set.Declare({.slice = WholeParam("weight", {8192}), .trainable = true, .dtype = at::kDouble});
  EXPECT_THAT([&] { ParameterStore(set, *mesh, at::kCPU, Int8Storage({1})); },
              ::testing::ThrowsMessage<c10::Error>(::testing::HasSubstr("weight: 8-bit moments")));
}

// Least squares, a x = b with 64 unknowns in each of 128 columns, gradients of a new batch of rows
// at every step. Returns the share of the first loss that is left after 300 steps.
double LossLeft(MomentStorage moments) {
  const auto mesh = Mesh::Single();
  ParameterSet set;
  Parameter* x = set.Declare({.slice = WholeParam("x", {64, 128}), .trainable = true});
  Rig rig(set, *mesh, {.moments = moments});
  auto generator = at::detail::createCPUGenerator(7);
  const at::Tensor a = at::randn({256, 64}, generator), b = a.mm(at::randn({64, 128}, generator));
  const auto loss = [&] { return (a.mm(x->value) - b).square().mean().item<double>(); };
  const double first = loss();
  for (int step = 0; step < 300; ++step) {
    rig.optimizer.ZeroGradients();
    const at::Tensor rows = a.narrow(0, step % 4 * 64, 64);
    x->grad.add_(rows.t().mm(rows.mm(x->value) - b.narrow(0, step % 4 * 64, 64)) / 64);
    rig.optimizer.Step(step, 0.05 * (1 - step / 300.0), 1.0);
  }
  return loss() / first;
}

TEST(Int8Optimizer, ArrivesWhereFloat32MomentsArrive) {
  const double wide = LossLeft(MomentStorage::kGradientDtype);
  const double int8 = LossLeft(MomentStorage::kInt8);
  EXPECT_LT(wide, 1e-4) << "the problem is too hard to compare anything";
  EXPECT_LT(int8, 2 * wide);
}

}  // namespace
}  // namespace fttrain

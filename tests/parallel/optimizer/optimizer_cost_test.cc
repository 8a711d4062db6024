// What the optimizer holds and sends, against arithmetic.
#include <map>

#include "parallel/optimizer/optimizer.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/ledger.h"
#include "tests/parallel/optimizer/optimizer_fixture.h"

namespace fttrain {
namespace {

using namespace optimizer_test;  // NOLINT: the fixture's vocabulary

// Elements of this rank's flat buffers: every parameter on 64 bytes; where there are several dp
// ranks, those of each group a multiple of dp such blocks.
int64_t FlatNumel(const Mesh& mesh, int64_t alignment) {
  std::map<int, int64_t> numel;  // by group
  const std::vector<GlobalParam> model = Model();
  for (size_t i = 0; i < model.size(); ++i) {
    const ParamSlice slice = Place(model[i], mesh.tp().size(), mesh.tp().rank()).slice;
    numel[GroupOf(i)] += RoundUp(slice.LocalNumel(), alignment);
  }
  int64_t sum = 0;
  for (const auto& [group, elements] : numel) {
    sum += RoundUp(elements, alignment * mesh.dp().size());
  }
  return sum;
}

class OptimizerCost : public ::testing::TestWithParam<int> {
 protected:
  StorageOptions Options() const { return {.zero_stage = GetParam()}; }
};

TEST_P(OptimizerCost, WireBytesOfSyncGradientsEqualTheClosedForm) {
  for (const int tp : TpSizes()) {
    const auto mesh = TestMesh(tp);
    ParameterSet set;
    DeclareModel(set, *mesh, at::kFloat);
    Rig rig(set, *mesh, Options());
    rig.optimizer.SyncGradients();
    // partial.factor 3 x 8 and partial.norm 11, aligned; the shared ones whole: 4 x 5 and 3 x 4.
    const int64_t partial_bytes = 4 * (RoundUp(24, 16) + RoundUp(11, 16)),
                  shared_bytes = 4 * (20 + 12);
    EXPECT_EQ(mesh->tp().traffic().wire_bytes, 2 * (tp - 1) * (partial_bytes + shared_bytes) / tp);
    const int64_t dp = mesh->dp().size(), bytes = 4 * FlatNumel(*mesh, 16);
    // Both kinds in the first of three groups, one each in the others.
    EXPECT_EQ(mesh->tp().traffic().calls, tp == 1 ? 0 : dp > 1 ? 4 : 2);
    EXPECT_EQ(mesh->dp().traffic().wire_bytes, (GetParam() == 1 ? 1 : 2) * (dp - 1) * bytes / dp);
    EXPECT_EQ(mesh->dp().traffic().calls, dp > 1 ? 3 : 0);
    EXPECT_EQ(mesh->pp().traffic().calls, 0);
  }
}

TEST_P(OptimizerCost, StepSendsTheValuesOnceUnderZero1AndNothingElse) {
  const auto mesh = TestMesh(/*tp=*/1);
  ParameterSet set;
  DeclareModel(set, *mesh, at::kBFloat16);
  Rig rig(set, *mesh, Options());
  rig.optimizer.Step(0, 1e-3, 1.0);
  const int64_t dp = mesh->dp().size(), bytes = 2 * FlatNumel(*mesh, 32);
  EXPECT_EQ(mesh->dp().traffic().wire_bytes, GetParam() == 1 ? (dp - 1) * bytes / dp : 0);
  EXPECT_EQ(mesh->tp().traffic().calls + mesh->pp().traffic().calls, 0);
}

// 12 bytes of state per bfloat16 parameter (master, exp_avg, exp_avg_sq), 8 per float32 one; 1/dp
// under ZeRO 1.
TEST_P(OptimizerCost, LedgerHoldsTheOwnedShareOfTheState) {
  struct Row {
    at::ScalarType dtype;
    int64_t alignment, value_bytes, gradient_bytes, state_bytes;
  };
  for (const Row& row : {Row{at::kBFloat16, 32, 2, 4, 12}, Row{at::kFloat, 16, 4, 4, 8},
                         Row{at::kDouble, 8, 8, 8, 16}}) {
    const auto mesh = TestMesh(/*tp=*/1);
    const auto current = [](MemoryCategory category) { return MemoryOf(category).current_bytes; };
    const int64_t weights = current(MemoryCategory::kWeights);
    const int64_t gradients = current(MemoryCategory::kGradients);
    const int64_t state = current(MemoryCategory::kOptimizer);
    ParameterSet set;
    DeclareModel(set, *mesh, row.dtype);
    Rig rig(set, *mesh, Options());
    const int64_t numel = FlatNumel(*mesh, row.alignment);
    const int64_t owned = GetParam() == 1 ? numel / mesh->dp().size() : numel;
    EXPECT_EQ(current(MemoryCategory::kWeights) - weights, row.value_bytes * numel);
    EXPECT_EQ(current(MemoryCategory::kGradients) - gradients, row.gradient_bytes * numel);
    EXPECT_EQ(current(MemoryCategory::kOptimizer) - state, row.state_bytes * owned);
  }
}

// Beyond what communication needs while it runs, a step makes no copies, and it leaves nothing
// behind.
TEST_P(OptimizerCost, AStepCopiesNeitherGradientsNorState) {
  const auto mesh = TestMesh(/*tp=*/1);
  ParameterSet set;
  set.Declare({.slice = WholeParam("weight", {1 << 16}), .trainable = true});
  Rig rig(set, *mesh, Options());
  const auto step = [&] {
    rig.optimizer.SyncGradients();
    rig.optimizer.GradientNorm();
    rig.optimizer.Step(0, 1e-3, 1.0);
  };
  step();
  ResetMemoryPeaks();
  const int64_t before = TotalMemory().current_bytes;
  step();
  EXPECT_EQ(TotalMemory().current_bytes, before);
  for (const auto category :
       {MemoryCategory::kOther, MemoryCategory::kWeights, MemoryCategory::kGradients,
        MemoryCategory::kOptimizer, MemoryCategory::kWorkspace}) {
    const MemoryUse use = MemoryOf(category);
    EXPECT_LE(use.peak_bytes - use.current_bytes, 256) << MemoryCategoryName(category);
  }
}

TEST(OptimizerLedger, AdaptersAreBookedAsAdapters) {
  const int64_t adapters = MemoryOf(MemoryCategory::kAdapters).current_bytes;
  const auto mesh = Mesh::Single();
  ParameterSet set;
  set.Declare({.slice = WholeParam("lora_A.weight", {4, 16}),
               .trainable = true,
               .category = MemoryCategory::kAdapters});
  const Rig rig(set, *mesh);
  EXPECT_EQ(MemoryOf(MemoryCategory::kAdapters).current_bytes - adapters, 4 * 64);
}

INSTANTIATE_TEST_SUITE_P(ZeroStage, OptimizerCost, ::testing::Values(0, 1));

}  // namespace
}  // namespace fttrain

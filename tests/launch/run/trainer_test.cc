// The same steps in every layout: loss, gradient norm and every trained parameter equal one rank's,
// in float64.
#include "launch/run/trainer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "runtime/memory/ledger.h"
#include "tests/launch/run/training_rig.h"

namespace fttrain {
namespace {

class EveryLayout : public ::testing::TestWithParam<std::tuple<bool, bool, bool>> {};

TEST_P(EveryLayout, TrainsAsOneRankDoes) {
  const auto [full, tied, packing] = GetParam();
  const int world = TestProcess().world_size();
  const auto single = Mesh::Single();
  const Task task{full, tied, packing};
  const Outcome want = Train(*single, {}, task);
  EXPECT_GT(want.metrics.front().grad_norm, 0.5) << "clipping has nothing to do";
  for (int tp = 1; tp <= world; tp *= 2) {
    const auto mesh = Mesh::Create(CommBackend::kMpi, TestProcess(), {tp, 1, world / tp});
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    for (const bool sequence_parallel : {false, true}) {
      if (tp == 1 && sequence_parallel) continue;
      for (const int zero_stage : {0, 1}) {
        SCOPED_TRACE(testing::Message() << "tp " << tp << " dp " << world / tp << " sp "
                                        << sequence_parallel << " zero " << zero_stage);
        ExpectEqual(Train(**mesh, {tp, sequence_parallel, zero_stage, 2}, task), want, **mesh);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryLayout,
                         ::testing::Values(std::tuple(false, false, true),
                                           std::tuple(false, true, false),
                                           std::tuple(true, false, true),
                                           std::tuple(true, true, false)));

int64_t LocalWeightBytes(const Mesh& mesh) {
  const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
  ParameterSet set;
  Transformer model(TinyModel(false), Options(false), mesh, set, kSequence, at::kCPU);
  const ParameterStore store(set, mesh, at::kCPU, {});
  return MemoryOf(MemoryCategory::kWeights).current_bytes - before;
}

// Matrices are divided, rows of the vocabulary as ceil(V / tp), shared kv heads and norms are not.
int64_t WeightNumel(const LlamaShape& m, int tp, int tp_rank) {
  const int64_t h = m.hidden_size, d = m.head_dim;
  const int64_t kv_heads = std::max<int64_t>(1, m.num_kv_heads / tp);
  const int64_t layer = 2 * h * (m.num_heads / tp) * d + 2 * h * kv_heads * d +
                        3 * h * m.intermediate_size / tp + 2 * h;
  return m.num_layers * layer + 2 * h * EvenRange(m.vocab_size, tp, tp_rank).extent + h;
}

TEST(TensorParallel, EachRankHoldsItsShareOfTheWeightBytes) {
  const int world = TestProcess().world_size();
  const auto mesh = Mesh::Create(CommBackend::kMpi, TestProcess(), {world, 1, 1});
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  const int rank = (*mesh)->position().tp;
  EXPECT_EQ(LocalWeightBytes(*Mesh::Single()), 8 * WeightNumel(TinyShape(false), 1, 0));
  EXPECT_EQ(LocalWeightBytes(**mesh), 8 * WeightNumel(TinyShape(false), world, rank));
}

// One microbatch forward and backward with adapters, everything inside one tp group: per layer two
// gathers and two reduces forward; backward two gathers of the gradient, two of recomputed inputs,
// two reduces; the first layer of a frozen embedding hands no gradient down. The head gathers its
// input, reduces its gradient, and gathers three numbers a target.
TEST(TensorParallel, WireBytesEqualTheClosedForm) {
  const int tp = TestProcess().world_size();
  const auto mesh = Mesh::Create(CommBackend::kMpi, TestProcess(), {tp, 1, 1});
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  const ModelSpec config = TinyModel(false);
  for (const bool sequence_parallel : {false, true}) {
    ModelOptions options = Options(false);
    options.sequence_parallel = sequence_parallel;
    ParameterSet set;
    Transformer model(config, options, **mesh, set, kSequence, at::kCPU);
    ParameterStore store(set, **mesh, at::kCPU, {});
    model.UseStore(store);
    Fill(set);
    const int32_t tokens = kSequence;  // a multiple of every tp tried
    std::vector<int32_t> ids(tokens, 3), targets(tokens, 5);
    targets.back() = kNoTarget;
    std::vector<ModelBatch> batches;
    batches.push_back(MakeModelBatch(ids, targets, {0, tokens}, std::vector<int64_t>(tokens, 0), 1,
                                     tp, at::kCPU));
    model.BeginStep(std::move(batches), 1.0);
    const int64_t before = (*mesh)->tp().traffic().wire_bytes;
    RunSchedule(SingleStage(1), model);
    const int64_t sent = (*mesh)->tp().traffic().wire_bytes - before;

    const int64_t gather = (tp - 1) * (tokens / tp) * config.hidden_size * 8;
    const int64_t all_reduce = 2 * (tp - 1) * tokens * config.hidden_size * 8 / tp;
    const int64_t layers = config.num_layers();
    const int64_t statistics = (tp - 1) * (tokens - 1) * 3 * 8;
    const int64_t want = tp == 1             ? 0
                         : sequence_parallel ? (1 + 10 * layers - 1 + 2) * gather + statistics
                                             : (1 + 4 * layers - 1 + 1) * all_reduce + statistics;
    EXPECT_EQ(sent, want) << "sequence parallel " << sequence_parallel;
  }
}

// Every rank a data-parallel one, with adapters on the tiny model.
class TrainerOverDp : public ::testing::Test {
 protected:
  TrainerOverDp() {
    model_.UseStore(store_);
    Fill(set_);
  }

  Trainer MakeTrainer(RowStream& rows, int64_t steps) {
    TrainerOptions options;
    options.steps = steps;
    options.shape = {1, 1, world_};
    options.schedule = {LrSchedule::Kind::kConstant, 1e-2, 0, steps, 0.0};
    return Trainer(options, *mesh_, *links_, at::kCPU, rows, model_, optimizer_);
  }

  const int world_ = TestProcess().world_size();
  const std::unique_ptr<Mesh> mesh_ =
      Mesh::Create(CommBackend::kMpi, TestProcess(), {1, 1, world_}).value();
  const std::unique_ptr<StageLinks> links_ = StageLinks::None();
  ParameterSet set_;
  Transformer model_{TinyModel(false), Options(false), *mesh_, set_, kSequence, at::kCPU};
  ParameterStore store_{set_, *mesh_, at::kCPU, {}};
  Optimizer optimizer_{store_, {}};
};

TEST_F(TrainerOverDp, ALossThatIsNotFiniteStopsEveryRankAndTouchesNothing) {
  set_.Find("model.norm.weight")->value.fill_(std::numeric_limits<double>::quiet_NaN());
  const at::Tensor before = set_.Trainable()[0]->value.clone();
  const std::vector<Example> examples = Documents();
  auto rows = RowStream::Create(&examples, {kSequence, true, true, 3});
  ASSERT_TRUE(rows.ok()) << rows.status();
  Trainer trainer = MakeTrainer(*rows, 1);
  const auto metrics = trainer.Step(0);
  EXPECT_EQ(metrics.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(metrics.status().message()), ::testing::HasSubstr("step 1"));
  EXPECT_TRUE(at::equal(set_.Trainable()[0]->value, before));
}

TEST_F(TrainerOverDp, AStepWithoutATargetIsRefusedOnEveryRank) {
  // As given, in file order: the first step has only masked rows, the second has targets.
  std::vector<Example> examples = Documents();
  examples.resize(2 * static_cast<size_t>(world_));
  for (int i = 0; i < world_; ++i) {
    std::fill(examples[i].labels.begin(), examples[i].labels.end(), kNoTarget);
  }
  auto rows = RowStream::Create(&examples, {kSequence, false, false, 3});
  ASSERT_TRUE(rows.ok()) << rows.status();
  Trainer trainer = MakeTrainer(*rows, 2);
  const auto refused = trainer.Step(0);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.status().message()), ::testing::HasSubstr("step 1: none of its"));
  EXPECT_TRUE(trainer.Step(1).ok());
}

}  // namespace
}  // namespace fttrain

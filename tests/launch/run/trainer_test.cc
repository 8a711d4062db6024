// What tensor-parallel ranks hold and send, in closed form, and steps that cannot be taken. That
// every layout trains as one rank does is every_layout_test.cc's.
#include "launch/run/trainer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <utility>
#include <vector>

#include "launch/run/summary.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

int64_t LocalWeightBytes(const MeshShape& mesh) {
  const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
  const auto job = BuildTiny(TinyTask(), {.mesh = mesh});
  return MemoryOf(MemoryCategory::kWeights).current_bytes - before;
}

TEST(HeldOutLoss, IsGivenUpWhereAStepOfItIsNotTakenAnyMore) {
  const Task task = TinyTask({.packing = false});
  const auto job = BuildTiny(task, {.mesh = {.dp = TestProcess().world_size()}});
  int asked = 0;
  EXPECT_FALSE(EvaluateHeldOut(*job->network, *HeldOut(task), [&] { return ++asked < 2; }));
  EXPECT_EQ(asked, 2);
  const double whole = EvaluateHeldOut(*job->network, *HeldOut(task)).loss;
  const auto all = EvaluateHeldOut(*job->network, *HeldOut(task), [&] { return ++asked < 100; });
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->loss, whole);
  EXPECT_EQ(asked, 5) << "40 rows are three steps";
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
  EXPECT_EQ(LocalWeightBytes({}), 8 * WeightNumel(TinyShape(), 1, 0));
  EXPECT_EQ(LocalWeightBytes({world, 1, 1}),
            8 * WeightNumel(TinyShape(), world, TestProcess().rank()));
}

// One microbatch forward and backward with adapters, everything inside one tp group: per layer two
// gathers and two reduces forward; backward two gathers of the gradient, two of recomputed inputs,
// two reduces; the first layer of a frozen embedding hands no gradient down. The head gathers its
// input, reduces its gradient, and gathers three numbers a target.
TEST(TensorParallel, WireBytesEqualTheClosedForm) {
  const int tp = TestProcess().world_size();
  const Task task = TinyTask();
  const ModelSpec& config = task.model;
  for (const bool sequence_parallel : {false, true}) {
    const auto job = BuildTiny(task, {.mesh = {tp, 1, 1}, .sequence_parallel = sequence_parallel});
    Transformer& model = *job->network->transformer;
    const int32_t tokens = kSequence;  // a multiple of every tp tried
    std::vector<int32_t> ids(tokens, 3), targets(tokens, 5);
    targets.back() = kNoTarget;
    std::vector<ModelBatch> batches;
    batches.push_back(MakeModelBatch(ids, targets, {0, tokens}, std::vector<int64_t>(tokens, 0), 1,
                                     tp, at::kCPU));
    model.BeginStep(std::move(batches), std::make_unique<TokenLoss>(1.0));
    const int64_t before = job->network->mesh->tp().traffic().wire_bytes;
    RunSchedule(OneForwardOneBackward(0, 1, 1), model);
    const int64_t sent = job->network->mesh->tp().traffic().wire_bytes - before;

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

// One row a step of every rank, each a data-parallel one, with adapters on the tiny model.
std::unique_ptr<Job> BuildOverDp(const RowOptions& options, std::vector<Example> examples) {
  const int world = TestProcess().world_size();
  Task task = TinyTask();
  task.rows = options;
  task.rows_per_step = world;
  JobInputs inputs = TinyInputs(task);
  inputs.rows =
      std::make_shared<RowStream>(RowStream::Create(std::move(examples), options).value());
  return BuildTiny(task, {.mesh = {1, 1, world}, .zero_stage = 1}, inputs);
}

// Between two collectives a rank may compute for longer than the watchdog's limit.
TEST(Training, EachVisitOfALayerIsAMove) {
  const Task task = TinyTask();
  const auto job = BuildTiny(task, Layout{});
  Trainer trainer(*job);
  const int64_t before = job->network->activity->Look().moves;
  ASSERT_TRUE(trainer.Step(0).ok());
  const int64_t microbatches = StepShapeOf(task, job->layout()).accumulation;
  EXPECT_GE(job->network->activity->Look().moves - before,
            2 * microbatches * static_cast<int64_t>(task.model.layers.size()));
}

TEST(TrainerOverDp, ALossThatIsNotFiniteStopsEveryRankAndTouchesNothing) {
  const auto job = BuildOverDp({kSequence, true, true, 3}, Documents());
  const ParameterSet& set = job->network->parameters;
  set.Find("model.norm.weight")->value.fill_(std::numeric_limits<double>::quiet_NaN());
  const at::Tensor before = set.Trainable()[0]->value.clone();
  const auto metrics = Trainer(*job).Step(0);
  EXPECT_THAT(metrics, IsError(absl::StatusCode::kAborted, "step 1"));
  EXPECT_TRUE(at::equal(set.Trainable()[0]->value, before));
}

TEST(TrainerOverDp, AStepWithoutATargetIsRefusedOnEveryRank) {
  // As given, in file order: the first step has only masked rows, the second has targets.
  const int world = TestProcess().world_size();
  std::vector<Example> examples = Documents();
  examples.resize(2 * static_cast<size_t>(world));
  for (int i = 0; i < world; ++i) {
    std::fill(examples[i].labels.begin(), examples[i].labels.end(), kNoTarget);
  }
  const auto job = BuildOverDp({kSequence, false, false, 3}, std::move(examples));
  Trainer trainer(*job);
  const auto refused = trainer.Step(0);
  EXPECT_THAT(refused, IsError(absl::StatusCode::kDataLoss, "step 1: none of its"));
  EXPECT_TRUE(trainer.Step(1).ok());
}

TEST(TrainerOverDp, AStepWithoutATargetIsRefusedInItsTurnAlthoughItIsReadInTheOneBefore) {
  const int world = TestProcess().world_size();
  std::vector<Example> examples = Documents();
  examples.resize(2 * static_cast<size_t>(world));
  for (int i = world; i < 2 * world; ++i) {
    std::fill(examples[i].labels.begin(), examples[i].labels.end(), kNoTarget);
  }
  const auto job = BuildOverDp({kSequence, false, false, 3}, std::move(examples));
  Trainer trainer(*job);
  EXPECT_TRUE(trainer.Step(0).ok());
  EXPECT_THAT(trainer.Step(1), IsError(absl::StatusCode::kDataLoss, "step 2: none of its"));
}

TEST(TrainerOverDp, TheLastStepOfTheEpochsIsThatOfARunOfTheRowsThatAreLeft) {
  const int world = TestProcess().world_size();
  Task task = TinyTask({.packing = false});
  task.form.adapter->dropout = 0;  // its draws follow a row's place
  task.rows.shuffle = false;
  std::vector<Example> examples = Documents();
  examples.resize(2 * static_cast<size_t>(world) + 1);
  const auto step_of = [&](std::vector<Example> rows, const MeshShape& mesh, int64_t step) {
    JobInputs inputs = TinyInputs(task);
    inputs.rows =
        std::make_shared<RowStream>(RowStream::Create(std::move(rows), task.rows).value());
    task.steps = inputs.rows->EndAfterEpochs(1, task.rows_per_step);
    EXPECT_EQ(task.steps, step + 1);
    return Trainer(*BuildTiny(task, {.mesh = mesh, .zero_stage = 1}, inputs)).Step(step).value();
  };
  task.rows_per_step = 1;
  const StepMetrics want = step_of({examples.back()}, {}, 0);
  EXPECT_EQ(want.tokens, static_cast<int64_t>(examples.back().input_ids.size()));
  task.rows_per_step = 2 * world;
  const StepMetrics got = step_of(examples, {1, 1, world}, 1);
  EXPECT_EQ(got.tokens, want.tokens);
  EXPECT_EQ(got.target_tokens, want.target_tokens);
  EXPECT_NEAR(got.loss, want.loss, 1e-10);
  EXPECT_NEAR(got.grad_norm, want.grad_norm, 1e-10 * want.grad_norm);
}

TEST(TrainerOverDp, ReadsAStepsRowsInTheStepBeforeAndNoneAfterTheLast) {
  const RowOptions options{kSequence, true, true, 3};
  const auto want = BuildOverDp(options, Documents()), job = BuildOverDp(options, Documents());
  Trainer trainer(*job), other(*want);
  const int64_t last = job->task().steps - 1;
  for (int64_t step = 0; step < last; ++step) {
    ASSERT_TRUE(trainer.Step(step).ok());
    ASSERT_TRUE(other.Step(step).ok());
  }
  job->rows.reset();
  EXPECT_EQ(trainer.Step(last)->loss, other.Step(last)->loss);
}

TEST(TrainerOverDp, TakesTheRowsOfTheStepThatIsAskedForWhateverWasBefore) {
  const auto job = BuildOverDp({kSequence, true, true, 3}, Documents());
  const auto rows_of = [](const StepMetrics& metrics) {
    return std::pair(metrics.tokens, metrics.target_tokens);
  };
  std::vector<std::pair<int64_t, int64_t>> want;
  for (int64_t step = 0; step < 4; ++step) want.push_back(rows_of(*Trainer(*job).Step(step)));
  EXPECT_NE(want[0], want[1]);
  Trainer trainer(*job);
  for (const int64_t step : {2, 0, 1, 3}) {
    EXPECT_EQ(rows_of(*trainer.Step(step)), want[static_cast<size_t>(step)]) << step;
  }
}

// The ends of a pipeline hold the same table beside other parameters: what a rank owns of it is the
// same on both all the same.
TEST(TrainerOverDp, TiedEndsOfAnUnevenPipelineTrainAsOneRankUnderEveryZeroStage) {
  const int world = TestProcess().world_size();
  Task task = TinyTask({.full = true, .tied = true, .layers = 3});
  // So large a table that the borders of shards lie within it, at other places on either end.
  LlamaShape shape = TinyShape(/*tied=*/true, /*layers=*/3);
  shape.vocab_size = 1009;
  task.model = LlamaLike(shape);
  const Trained want = Train(*BuildTiny(task, Layout{}), 2);
  for (const int zero : {0, 1, 2, 3}) {
    for (const std::vector<int>& layers : {std::vector<int>{2, 1}, std::vector<int>{1, 2}}) {
      const Layout layout{.mesh = {1, 2, world / 2}, .zero_stage = zero, .layers_per_run = layers};
      SCOPED_TRACE(ToString(layout));
      const auto job = BuildTiny(task, layout);
      ExpectNear(Train(*job, 2), want, *job->network->mesh);
    }
  }
}

TEST(Training, SaysOverWhatItsRanksCommunicate) {
  const auto job = BuildOverDp({kSequence, true, true, 3}, Documents());
  EXPECT_THAT(StartSummary(*job), HasSubstr("threads a rank; over MPI\n"));
}

// Frozen weights in files, over all ranks as replicas.
absl::StatusOr<std::unique_ptr<Job>> BuildOnDisk(const std::string& folder) {
  const Task task = TinyTask();
  JobInputs inputs = TinyInputs(task);
  inputs.scratch_folder = folder;
  const Layout layout = {.mesh = {1, 1, TestProcess().world_size()},
                         .device = DeviceKind::kCpu,
                         .frozen = FrozenPlace::kDisk};
  return Build(task, layout, inputs, TestProcess());
}

TEST(ScratchFolder, IsMadeByEveryRankWhichNeedSeeNoOthers) {
  const TempFolder own;
  const auto job = BuildOnDisk(own / "not/there");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(std::filesystem::is_empty(own / "not/there")) << "its files have no names";
  EXPECT_TRUE(Trainer(**job).Step(0).ok());
}

TEST(ScratchFolder, ThatARankCannotMakeIsAnErrorOfAllThatNamesItsHost) {
  const TempFolder own;
  const int last = TestProcess().world_size() - 1;
  const bool fails = TestProcess().rank() == last;
  const auto job = BuildOnDisk(fails ? own.Write("file", "") + "/below" : own.path());
  EXPECT_THAT(job, IsError(absl::StatusCode::kUnavailable, "memory.scratch_folder /"));
  EXPECT_THAT(ErrorText(job),
              ::testing::MatchesRegex("rank " + std::to_string(last) +
                                      " on host .*: memory.scratch_folder /.*/file/below: .*"));
}

}  // namespace
}  // namespace fttrain

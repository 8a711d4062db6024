// The same steps in every layout: loss, gradient norm and every trained parameter equal one rank's,
// in float64.
#include "launch/trainer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "parallel/param_gather.h"
#include "runtime/check.h"
#include "runtime/memory_ledger.h"
#include "runtime/philox.h"
#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

constexpr int64_t kSequence = 24;
constexpr int64_t kSteps = 4;

ModelConfig TinyModel(bool tied) {
  ModelConfig m;
  m.family = ModelFamily::kLlama;
  m.hidden_size = 32;
  m.intermediate_size = 48;
  m.num_layers = 2;
  m.num_heads = 8;
  m.num_kv_heads = 2;
  m.head_dim = 4;
  m.vocab_size = 37;
  m.max_position_embeddings = 64;
  m.tie_word_embeddings = tied;
  m.layer_windows = {0, 6};
  return m;
}

// Documents of 3 to 20 tokens, about half of the labels masked.
std::vector<Example> Documents() {
  std::vector<Example> examples(40);
  for (size_t i = 0; i < examples.size(); ++i) {
    const uint32_t length = 3 + Philox4x32(1, i, 0).x[0] % 18;
    for (uint32_t j = 0; j < length; ++j) {
      const PhiloxBlock draw = Philox4x32(2, i, j);
      examples[i].input_ids.push_back(static_cast<int32_t>(draw.x[0] % 37));
      examples[i].labels.push_back(draw.x[1] % 2 == 0 ? kNoTarget : examples[i].input_ids.back());
    }
    examples[i].labels.back() = examples[i].input_ids.back();
  }
  return examples;
}

// Every rank's slice of values that depend on the parameter's name and the global index alone.
void Fill(ParameterSet& set) {
  for (const auto& p : set.all()) {
    const int64_t numel = p->slice.GlobalNumel();
    std::vector<double> values(numel);
    const bool norm = p->slice.name.find("norm") != std::string::npos;
    for (int64_t i = 0; i < numel; ++i) {
      const double u = UniformFromBits(Philox4x32(7, i, StreamOfName(p->slice.name)).x[0]) - 0.5;
      values[i] = norm ? 1.0 + 0.2 * u : 0.5 * u;
    }
    at::Tensor whole = at::tensor(values, at::kDouble).view(p->slice.global_shape);
    if (p->slice.dim >= 0) whole = whole.narrow(p->slice.dim, p->slice.offset, p->slice.extent);
    p->value.copy_(whole);
  }
}

struct Layout {
  int tp = 1;
  bool sequence_parallel = true;
  int zero_stage = 1;
  int64_t micro_batch_size = 1;
};

struct Outcome {
  std::vector<StepMetrics> metrics;
  std::map<std::string, at::Tensor> parameters;
};

ModelOptions Options(bool full) {
  ModelOptions options;
  options.compute = at::kDouble;
  options.train_base = full;
  options.use_lora = !full;
  options.lora = {/*r=*/3, /*alpha=*/6, /*dropout=*/0.2, /*use_rslora=*/false};
  options.target_modules = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                            "gate_proj", "up_proj", "down_proj"};
  options.loss_chunk_rows = 5;
  return options;
}

// 16 rows a step in every layout.
Outcome Train(const Mesh& mesh, const Layout& layout, bool full, bool tied, bool packing) {
  ModelOptions options = Options(full);
  options.sequence_parallel = layout.sequence_parallel;
  ParameterSet set;
  Transformer model(TinyModel(tied), options, mesh, set, kSequence, at::kCPU);
  OptimizerOptions adamw;
  adamw.weight_decay = 0.1;
  adamw.zero_stage = layout.zero_stage;
  Optimizer optimizer(set, mesh, at::kCPU, adamw);
  Fill(set);
  optimizer.MastersFromParameters();

  const std::vector<Example> examples = Documents();
  RowOptions row_options;
  row_options.sequence_len = kSequence;
  row_options.packing = packing;
  row_options.seed = 3;
  auto rows = RowStream::Create(&examples, row_options);
  FT_CHECK(rows.ok(), rows.status().ToString());
  TrainerOptions trainer_options;
  trainer_options.steps = kSteps;
  const int64_t dp = mesh.shape().dp;
  trainer_options.shape = {layout.micro_batch_size, 16 / (layout.micro_batch_size * dp), dp};
  trainer_options.schedule = {LrSchedule::Kind::kCosine, 1e-2, 1, kSteps, 0.0};
  trainer_options.max_grad_norm = 0.5;
  trainer_options.seed = 11;
  Trainer trainer(trainer_options, mesh, at::kCPU, *rows, model, optimizer);

  Outcome outcome;
  for (int64_t step = 0; step < kSteps; ++step) {
    auto metrics = trainer.Step(step);
    FT_CHECK(metrics.ok(), metrics.status().ToString());
    outcome.metrics.push_back(*metrics);
  }
  for (const Parameter* p : set.Trainable()) {
    outcome.parameters[p->slice.name] = GatherWhole(p->slice, p->value, mesh.tp()).clone();
  }
  return outcome;
}

void ExpectEqual(const Outcome& got, const Outcome& want) {
  for (int64_t step = 0; step < kSteps; ++step) {
    EXPECT_NEAR(got.metrics[step].loss, want.metrics[step].loss, 1e-10) << "step " << step;
    EXPECT_NEAR(got.metrics[step].grad_norm, want.metrics[step].grad_norm, 1e-9) << "step " << step;
    EXPECT_EQ(got.metrics[step].tokens, want.metrics[step].tokens);
    EXPECT_EQ(got.metrics[step].target_tokens, want.metrics[step].target_tokens);
  }
  EXPECT_EQ(got.parameters.size(), want.parameters.size());
  for (const auto& [name, value] : want.parameters) {
    const double difference = (got.parameters.at(name) - value).abs().max().item<double>();
    EXPECT_LT(difference, 1e-8) << name;
  }
}

class EveryLayout : public ::testing::TestWithParam<std::tuple<bool, bool, bool>> {};

TEST_P(EveryLayout, TrainsAsOneRankDoes) {
  const auto [full, tied, packing] = GetParam();
  const int world = TestProcess().world_size();
  const auto single = Mesh::Single();
  const Outcome want = Train(*single, {}, full, tied, packing);
  EXPECT_GT(want.metrics.front().grad_norm, 0.5) << "clipping has nothing to do";
  for (int tp = 1; tp <= world; tp *= 2) {
    const auto mesh = Mesh::Create(CommBackend::kMpi, TestProcess(), {tp, 1, world / tp});
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    for (const bool sequence_parallel : {false, true}) {
      if (tp == 1 && sequence_parallel) continue;
      for (const int zero_stage : {0, 1}) {
        SCOPED_TRACE(testing::Message() << "tp " << tp << " dp " << world / tp << " sp "
                                        << sequence_parallel << " zero " << zero_stage);
        ExpectEqual(Train(**mesh, {tp, sequence_parallel, zero_stage, 2}, full, tied, packing),
                    want);
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
  Optimizer optimizer(set, mesh, at::kCPU, {});
  return MemoryOf(MemoryCategory::kWeights).current_bytes - before;
}

// Matrices are divided, rows of the vocabulary as ceil(V / tp), shared kv heads and norms are not.
int64_t WeightNumel(const ModelConfig& m, int tp, int tp_rank) {
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
  EXPECT_EQ(LocalWeightBytes(*Mesh::Single()), 8 * WeightNumel(TinyModel(false), 1, 0));
  EXPECT_EQ(LocalWeightBytes(**mesh), 8 * WeightNumel(TinyModel(false), world, rank));
}

// One microbatch forward and backward with adapters, everything inside one tp group: per layer two
// gathers and two reduces forward; backward two gathers of the gradient, two of recomputed inputs,
// two reduces; the first layer of a frozen embedding hands no gradient down. The head gathers its
// input, reduces its gradient, and gathers three numbers a target.
TEST(TensorParallel, WireBytesEqualTheClosedForm) {
  const int tp = TestProcess().world_size();
  const auto mesh = Mesh::Create(CommBackend::kMpi, TestProcess(), {tp, 1, 1});
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  const ModelConfig config = TinyModel(false);
  for (const bool sequence_parallel : {false, true}) {
    ModelOptions options = Options(false);
    options.sequence_parallel = sequence_parallel;
    ParameterSet set;
    Transformer model(config, options, **mesh, set, kSequence, at::kCPU);
    Optimizer optimizer(set, **mesh, at::kCPU, {});
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
    const int64_t layers = config.num_layers;
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
  TrainerOverDp() { Fill(set_); }

  Trainer MakeTrainer(RowStream& rows, int64_t steps) {
    TrainerOptions options;
    options.steps = steps;
    options.shape = {1, 1, world_};
    options.schedule = {LrSchedule::Kind::kConstant, 1e-2, 0, steps, 0.0};
    return Trainer(options, *mesh_, at::kCPU, rows, model_, optimizer_);
  }

  const int world_ = TestProcess().world_size();
  const std::unique_ptr<Mesh> mesh_ =
      Mesh::Create(CommBackend::kMpi, TestProcess(), {1, 1, world_}).value();
  ParameterSet set_;
  Transformer model_{TinyModel(false), Options(false), *mesh_, set_, kSequence, at::kCPU};
  Optimizer optimizer_{set_, *mesh_, at::kCPU, {}};
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

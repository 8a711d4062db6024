// A head that is split over the stages of a pipeline computes what one rank does, holds its share
// of the weights and sends what it must.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "parallel/pipeline/schedules.h"
#include "tests/launch/run/training_rig.h"

namespace fttrain {
namespace {

constexpr int kLayers = 4;
constexpr auto k1F1B = PipelineKind::kOneForwardOneBackward;
constexpr auto kGPipe = PipelineKind::kGPipe;

// {tp, pp, dp} of all ranks with at least two stages.
std::vector<MeshShape> Shapes() {
  if (TestProcess().world_size() == 2) return {{1, 2, 1}};
  return {{1, 4, 1}, {2, 2, 1}, {1, 2, 2}};
}

Task TaskOf(bool tied, bool nf4) {
  return {.tied = tied, .packing = false, .layers = kLayers, .nf4 = nf4};
}

class SplitHeads : public ::testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  Task task() const { return TaskOf(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

TEST_P(SplitHeads, GradientsOfAStepEqualOneRanks) {
  const auto single = Mesh::Single();
  TrainingRig alone(*single, {.zero_stage = 0}, task());
  const auto want = GradientsOfAStep(alone);
  for (const MeshShape& shape : Shapes()) {
    const auto mesh = CreateMesh(shape);
    for (const PipelineKind kind : {k1F1B, kGPipe}) {
      for (const bool sequence_parallel : {false, true}) {
        if (shape.tp == 1 && sequence_parallel) continue;
        const Layout layout{.tp = shape.tp,
                            .sequence_parallel = sequence_parallel,
                            .zero_stage = shape.dp > 1 ? 3 : 0,
                            .pipeline = kind,
                            .split_head = true};
        SCOPED_TRACE(testing::PrintToString(std::tuple(shape.tp, shape.pp, shape.dp)) +
                     " (tp, pp, dp), gpipe " + testing::PrintToString(kind == kGPipe) +
                     ", sequence parallel " + testing::PrintToString(sequence_parallel));
        TrainingRig rig(*mesh, layout, task());
        const auto got = GradientsOfAStep(rig);
        EXPECT_EQ(NamesOverStages(got, want, *mesh).size(), want.size());
        for (const auto& [name, gradient] : got) {
          const at::Tensor& reference = want.at(name);
          const double size = reference.abs().max().item<double>();
          EXPECT_GT(size, 0) << name;
          EXPECT_LT((gradient - reference).abs().max().item<double>(), 1e-10 * size) << name;
        }
      }
    }
  }
}

TEST_P(SplitHeads, TrainAsOneRankDoes) {
  const auto single = Mesh::Single();
  const Outcome want = Train(*single, {}, task());
  for (const MeshShape& shape : Shapes()) {
    const auto mesh = CreateMesh(shape);
    const Layout layout{.tp = shape.tp,
                        .zero_stage = shape.dp > 1 ? 3 : 1,
                        .split_head = true,
                        .recompute = Recompute::kFull,
                        .activations_on_host = shape.tp == 1};
    ExpectEqual(Train(*mesh, layout, task()), want, *mesh);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, SplitHeads,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool()),
                         [](const auto& task) {
                           return std::string(std::get<1>(task.param) ? "Qlora" : "Lora") +
                                  (std::get<0>(task.param) ? "Tied" : "");
                         });

// The vocabulary of 37 is no multiple of anything here.
TEST(SplitHead, EveryStageHoldsItsShareOfTheHead) {
  const int64_t vocabulary = TinyModel(false).vocab_size;
  for (const MeshShape& shape : Shapes()) {
    const auto mesh = CreateMesh(shape);
    const int stage = mesh->position().pp;
    for (const bool tied : {false, true}) {
      TrainingRig rig(*mesh, {.tp = shape.tp, .split_head = true}, TaskOf(tied, false));
      const Range of_tp = EvenRange(vocabulary, shape.tp, mesh->position().tp);
      const Range mine = EvenRange(of_tp.extent, shape.pp, stage);
      const Parameter* head = rig.set.Find(tied ? "model.embed_tokens.weight" : "lm_head.weight");
      ASSERT_NE(head, nullptr);
      // A tied head is in the first stage's embedding anyway.
      const bool whole = tied && stage == 0;
      EXPECT_EQ(head->value.size(0), whole ? of_tp.extent : mine.extent);
      EXPECT_EQ(head->slice.offset, whole ? of_tp.offset : of_tp.offset + mine.offset);
      EXPECT_LE(mine.extent, (vocabulary + shape.tp * shape.pp - 1) / (shape.tp * shape.pp) + 1);
      EXPECT_EQ(rig.set.Find("model.norm.weight") != nullptr, stage == shape.pp - 1);
    }
  }
}

// `count` microbatches of `tokens` rows with the given target each.
std::vector<ModelBatch> EqualBatches(int count, int32_t tokens, int32_t target) {
  std::vector<ModelBatch> batches;
  for (int i = 0; i < count; ++i) {
    batches.push_back(MakeModelBatch(std::vector<int32_t>(tokens, 3 + i),
                                     std::vector<int32_t>(tokens, target), {0, tokens},
                                     std::vector<int64_t>(tokens, 0), 1, 1, at::kCPU));
  }
  return batches;
}

TEST(SplitHead, SendsRowsToEveryStageAndTheirPartsBack) {
  const int stages = TestProcess().world_size();
  const auto mesh = CreateMesh({1, stages, 1});
  const int stage = mesh->position().pp;
  TrainingRig rig(*mesh, {.split_head = true}, TaskOf(false, false));
  // Target 0 is in the first stage's slice: its rows of the head travel too.
  rig.model.BeginStep(EqualBatches(16, kSequence, 0), 1.0);
  RunSchedule(rig.Schedule(), rig.model, *rig.links);
  const int64_t rows = 16 * kSequence * TinyModel(false).hidden_size * 8;
  const int64_t part = rows + (stage == 0 ? rows : 0) + 16 * kSequence * 3 * 8;
  EXPECT_EQ(rig.head_links->wire_bytes(), stage == stages - 1 ? (stages - 1) * rows : part);
  // Nothing of a microbatch without targets.
  rig.model.BeginStep(EqualBatches(16, kSequence, kNoTarget), 1.0);
  RunSchedule(rig.Schedule(), rig.model, *rig.links);
  EXPECT_EQ(rig.head_links->wire_bytes(), stage == stages - 1 ? (stages - 1) * rows : part);
  EXPECT_EQ(rig.model.LossSum(), 0);
}

// On the last stage, [M, H] gradients of hidden states in a dtype, from a split head or, on one
// rank, an undivided one.
at::Tensor HeadGradient(at::ScalarType compute, const Mesh& mesh, bool split, bool nf4 = false) {
  ModelConfig model = TinyModel(false);
  model.vocab_size = 301;
  ModelOptions options = Options(/*full=*/false);
  options.compute = compute;
  if (nf4) options.nf4 = Nf4Options{};
  const ModelBatch batch = EqualBatches(1, kSequence, /*target=*/200).front();
  const at::Tensor x = at::sin(at::arange(kSequence * model.hidden_size, at::kDouble) * 0.7)
                           .view({kSequence, model.hidden_size})
                           .to(at::kBFloat16)
                           .to(compute);
  ParameterSet set;
  const auto fill = [&] {
    AllocateFrozen(set, at::kCPU);
    Fill(set);  // of values that bfloat16 has
    for (const auto& p : set.all()) {
      if (p->packed_bytes == 0) p->value.copy_(p->value.to(at::kBFloat16));
    }
  };
  double loss = 0;
  if (!split) {
    const LmHeadLoss head(model, options, mesh.tp(), nullptr, set);
    fill();
    LmHeadLoss::Saved saved;
    head.Forward(x, batch.target_rows, batch.targets, 1.0, &saved);
    return head.Backward(saved);
  }
  SplitHead head(model, options, mesh, nullptr, set);
  fill();
  auto links = HeadLinks::Create(CommBackend::kMpi, TestProcess(), mesh.shape(), 1 << 16);
  FT_CHECK(links.ok(), links.status().ToString());
  head.UseLinks(**links);
  head.BeginStep({batch});
  SplitHead::Saved saved;
  const bool last = (*links)->is_last();
  if (last) head.Forward(x, batch, saved);
  head.Part(batch, 1.0, saved, loss);
  return last ? head.Backward(saved) : at::Tensor();
}

TEST(SplitHead, OfNf4IsThatOfOneRank) {
  const auto single = Mesh::Single(), mesh = CreateMesh({1, TestProcess().world_size(), 1});
  const at::Tensor split = HeadGradient(at::kDouble, *mesh, true, /*nf4=*/true);
  if (!split.defined()) return;
  const at::Tensor one_rank = HeadGradient(at::kDouble, *single, false, /*nf4=*/true);
  const double size = one_rank.abs().max().item<double>();
  EXPECT_GT(size, 0);
  EXPECT_LT((split - one_rank).abs().max().item<double>(), 1e-12 * size);
  EXPECT_FALSE(at::allclose(one_rank, HeadGradient(at::kDouble, *single, false)));
}

TEST(SplitHead, RoundsInBfloat16AsOneRankDoes) {
  const auto single = Mesh::Single(), mesh = CreateMesh({1, TestProcess().world_size(), 1});
  const at::Tensor split = HeadGradient(at::kBFloat16, *mesh, true);
  if (!split.defined()) return;
  const at::Tensor exact = HeadGradient(at::kDouble, *single, false);
  const auto error = [&](const at::Tensor& got) {
    return (got.to(at::kDouble) - exact).norm().item<double>();
  };
  const double one_rank = error(HeadGradient(at::kBFloat16, *single, false));
  EXPECT_GT(one_rank, 0);
  EXPECT_LT(error(split), 1.5 * one_rank);
}

}  // namespace
}  // namespace fttrain

// When gradients are summed over the ranks of a stage's replicas: group by group, beside what is
// left of the last microbatch's backward.
#include "parallel/residency/stored_weights.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "parallel/pipeline/schedule.h"
#include "tests/test_mesh.h"

namespace fttrain {
namespace {

// What one stage does: its runs of layers, its list.
struct Stage {
  std::string name;
  std::vector<LayerRun> runs;
  std::vector<PipelineStep> steps;
};
void PrintTo(const Stage& stage, std::ostream* out) { *out << stage.name; }
constexpr int kMicrobatches = 4;
std::vector<PipelineStep> StepsOf(PipelineKind kind, int stage, int stages, int chunks) {
  return MakePipelineSchedule(kind, stage, stages, chunks, kMicrobatches);
}
const std::vector<Stage>& Stages() {
  static const std::vector<Stage> kStages = {
      {"Alone1F1B", {{0, 4, true, true}}, StepsOf(PipelineKind::kOneForwardOneBackward, 0, 1, 1)},
      {"AloneGPipe", {{0, 4, true, true}}, StepsOf(PipelineKind::kGPipe, 0, 1, 1)},
      {"AloneWithOneLayer",
       {{0, 1, true, true}},
       StepsOf(PipelineKind::kOneForwardOneBackward, 0, 1, 1)},
      {"LayerMajor",
       {{0, 1, true, false}, {1, 2, false, false}, {2, 3, false, true}},
       StepsOf(PipelineKind::kLayerMajor, 0, 1, 3)},
      {"FirstOfInterleaved",
       {{0, 1, true, false}, {2, 3, false, false}},
       StepsOf(PipelineKind::kInterleaved, 0, 2, 2)},
      {"LastOfInterleaved",
       {{1, 2, false, false}, {3, 4, false, true}},
       StepsOf(PipelineKind::kInterleaved, 1, 2, 2)}};
  return kStages;
}

// The head reads the embedding's table.
std::vector<int> GroupsOf(int part) {
  if (part == kHeadPart) return {kEmbeddingPart, kHeadPart};
  return {part};
}
bool AddsTo(int group, const Visit& visit) {
  const std::vector<int> groups = GroupsOf(visit.part);
  return (visit.pass == Visit::Pass::kBackward || visit.part == kHeadPart) &&
         std::count(groups.begin(), groups.end(), group) > 0;
}

class StoredWeightsOver : public ::testing::TestWithParam<std::tuple<int, Stage>> {
 protected:
  static constexpr int64_t kNumel = 37;

  StoredWeightsOver() {
    const auto& [zero_stage, stage] = GetParam();
    visits_ = VisitsOf(stage.steps, stage.runs, /*embedding_backward=*/true);
    for (const int group : {kEmbeddingPart, kHeadPart, 0, 1, 2, 3}) {
      const auto reads = [&](const Visit& v) { return AddsTo(group, v); };
      if (std::none_of(visits_.begin(), visits_.end(), reads)) continue;
      set_.BeginGroup(group);
      parameters_.push_back(set_.Declare(
          {.slice = WholeParam("group." + std::to_string(group), {kNumel}), .trainable = true}));
    }
    store_ = std::make_unique<ParameterStore>(set_, *mesh_, at::kCPU,
                                              StorageOptions{.zero_stage = zero_stage});
    weights_ = std::make_unique<StoredWeights>(*store_, GroupsOf);
    residency_.Add(*weights_);
  }

  // Walks the list; each visit adds rank + 1 to what it adds to. Calls done(index) after each.
  template <class Done>
  void Walk(const Done& done) {
    residency_.Begin(visits_);
    for (size_t i = 0; i < visits_.size(); ++i) {
      const Visit& visit =
          residency_.Enter(visits_[i].part, visits_[i].pass, visits_[i].microbatch);
      for (const Parameter* p : parameters_) {
        if (AddsTo(p->group, visit)) p->grad.add_(mesh_->dp().rank() + 1);
      }
      residency_.Leave();
      done(i);
    }
  }
  size_t LastAddition(int group) const {
    size_t last = 0;
    for (size_t i = 0; i < visits_.size(); ++i) last = AddsTo(group, visits_[i]) ? i : last;
    return last;
  }
  void ExpectSums() {
    const int64_t dp = mesh_->dp().size(), ranks = dp * (dp + 1) / 2;
    for (const FlatBuffer& flat : store_->buffers()) {
      const int group = flat.entries.front().parameter->group;
      const auto additions = std::count_if(visits_.begin(), visits_.end(),
                                           [&](const Visit& v) { return AddsTo(group, v); });
      const FlatRange mine = Intersect({0, kNumel}, store_->Owned(flat));
      EXPECT_TRUE(flat.GradientsIn(mine).eq(additions * ranks).all().item<bool>()) << group;
    }
  }

  const std::unique_ptr<Mesh> mesh_ = TestMesh(/*tp=*/1);
  std::vector<Visit> visits_;
  ParameterSet set_;
  std::vector<Parameter*> parameters_;
  std::unique_ptr<ParameterStore> store_;
  std::unique_ptr<StoredWeights> weights_;
  Residency residency_;
};

TEST_P(StoredWeightsOver, EveryStepsGradientsAreSummed) {
  for (int step = 0; step < 2; ++step) {
    for (const FlatBuffer& flat : store_->buffers()) flat.gradients.zero_();
    Walk([](size_t) {});
    store_->FinishGradients();
    ExpectSums();
  }
}

TEST_P(StoredWeightsOver, AStepThatFailsLeavesNothingForTheNext) {
  EXPECT_THROW(Walk([&](size_t i) { TORCH_CHECK(i + 2 < visits_.size(), "the step fails"); }),
               c10::Error);
  residency_.Abort();
  for (const FlatBuffer& flat : store_->buffers()) flat.gradients.zero_();
  Walk([](size_t) {});
  store_->FinishGradients();
  ExpectSums();
}

std::string NameOf(const ::testing::TestParamInfo<std::tuple<int, Stage>>& info) {
  return "Zero" + std::to_string(std::get<0>(info.param)) + std::get<1>(info.param).name;
}
INSTANTIATE_TEST_SUITE_P(Schedules, StoredWeightsOver,
                         ::testing::Combine(::testing::Values(0, 1, 2, 3),
                                            ::testing::ValuesIn(Stages())),
                         NameOf);

// Where each rank has all gradients they are sent once a step: a group's as soon as nothing more is
// added to them.
class WholeGradientsOver : public StoredWeightsOver {};

TEST_P(WholeGradientsOver, AreSentAfterTheirLastAddition) {
  int64_t sent = mesh_->dp().traffic().calls;
  Walk([&](size_t i) {
    const int64_t began = mesh_->dp().traffic().calls - sent;
    sent += began;
    const auto completes = [&](const Parameter* p) { return LastAddition(p->group) == i; };
    EXPECT_EQ(began, std::count_if(parameters_.begin(), parameters_.end(), completes))
        << "after visit " << i << " of " << ToString(visits_);
  });
  store_->FinishGradients();
  EXPECT_EQ(mesh_->dp().traffic().calls, sent) << "nothing was left";
}

INSTANTIATE_TEST_SUITE_P(Schedules, WholeGradientsOver,
                         ::testing::Combine(::testing::Values(0, 1), ::testing::ValuesIn(Stages())),
                         NameOf);

}  // namespace
}  // namespace fttrain

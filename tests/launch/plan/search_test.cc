// The search for layouts, with arithmetic in the place of rehearsals: what a rank needs is what a
// test says.
#include "launch/plan/search.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "configs/load_config.h"
#include "launch/plan/fewer_cards.h"
#include "launch/plan/layout_keys.h"
#include "launch/report/plan_report.h"
#include "launch/run/network.h"
#include "tests/launch/plan/lora_task.h"

namespace fttrain {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int64_t kGib = int64_t{1} << 30;

// LoraTask with eight experts, of which two take a token, in the place of each MLP.
Task MixtureTask(int layers) {
  Task task = LoraTask(layers);
  LlamaShape shape = ShapeOf8B(layers);
  shape.moe = {.experts = 8, .top_k = 2, .intermediate_size = 14336};
  task.model = LlamaLike(shape);
  task.form.adapter->target_modules = {{"q_proj", "v_proj"}};
  return task;
}

std::set<std::string> MeshNames(const SearchSpace& space) {
  std::set<std::string> names;
  for (const MeshShape& mesh : MeshesOf(space)) names.insert(MeshName(mesh));
  return names;
}

// A search on a rig whose cards have all their memory.
struct Searched {
  explicit Searched(const char* words, Task with = LoraTask(16))
      : task(std::move(with)), rig(ParseRig(words).value()), space{task, base, rig, {}, {}} {
    base.sequence_parallel = true;
    base.zero_stage = 1;
    for (const Card& card : rig.cards) space.room.push_back(card.memory_bytes);
  }
  Task task;
  Layout base;
  Rig rig;
  SearchSpace space;
};

absl::StatusOr<RankBytes> Nothing(const Task&, const Layout&, int) { return RankBytes{}; }

// As the estimate says, and `more`.
BytesOfRank Estimated(int64_t more = 0) {
  return [more](const Task& task, const Layout& layout, int rank) -> absl::StatusOr<RankBytes> {
    Footprint footprint(task);
    const auto stage = static_cast<size_t>(PositionOfRank(layout.mesh, rank).pp);
    RankBytes bytes = footprint.ByStage(layout, task.moments)[stage];
    bytes.device += more;
    return bytes;
  };
}

TEST(Candidates, AreLayoutsOfTheTaskOnAllCards) {
  Searched searched("4x4090");
  const Candidates candidates = MakeCandidates(searched.space);
  ASSERT_THAT(candidates.all, Not(IsEmpty()));
  std::vector<std::string> meshes;
  for (const Candidate& each : candidates.all) {
    EXPECT_TRUE(CheckLayout(searched.task, each.layout).ok());
    EXPECT_EQ(each.layout.mesh.world_size(), 4);
    EXPECT_GT(each.time.seconds, 0);
    meshes.push_back(MeshName(each.layout.mesh));
  }
  for (const char* mesh : {"tensor 4", "pipeline 4", "replicas 4", "tensor 2 x pipeline 2",
                           "tensor 2 x replicas 2", "pipeline 2 x replicas 2"}) {
    EXPECT_THAT(meshes, Contains(mesh));
  }
}

TEST(Candidates, DivideTheExpertsOfAMixtureOverReplicas) {
  Searched searched("4x4090", MixtureTask(4));
  EXPECT_EQ(MeshNames(searched.space),
            (std::set<std::string>{
                "tensor 4", "pipeline 4", "tensor 2 x pipeline 2", "replicas 4",
                "replicas 4 (experts over 2)", "replicas 4 (experts over 4)",
                "tensor 2 x replicas 2", "tensor 2 x replicas 2 (experts over 2)",
                "pipeline 2 x replicas 2", "pipeline 2 x replicas 2 (experts over 2)"}));
  searched.space.kept = {"parallel.expert"};
  searched.base.mesh = {.dp = 4, .ep = 4};
  EXPECT_EQ(MeshNames(searched.space), std::set<std::string>{"replicas 4 (experts over 4)"});
  EXPECT_THAT(MeshNames(Searched("4x4090").space), SizeIs(6)) << "a dense model has none";
}

// As a run would refuse.
TEST(Candidates, OfAMixtureCutNoTensorOverUnequalCards) {
  EXPECT_EQ(MeshNames(Searched("1x3090+1xA6000", MixtureTask(4)).space),
            (std::set<std::string>{"pipeline 2", "replicas 2", "replicas 2 (experts over 2)"}));
  EXPECT_TRUE(MeshNames(Searched("1x3090+1xA6000").space).count("tensor 2"));
  EXPECT_TRUE(
      MeshNames(Searched("2x3090+2xA6000", MixtureTask(4)).space).count("tensor 2 x pipeline 2"));
}

TEST(Candidates, PullNoLeverWhereAllFits) {
  Searched searched("2xH100");
  for (const Candidate& each : MakeCandidates(searched.space).all) {
    const bool may_be_full = each.fullness > 0.8;
    if (may_be_full) continue;
    EXPECT_THAT(LeversOf(each.layout, each.moments), SizeIs(testing::Le(1u)));
  }
}

TEST(Search, TakesTheFastestOfEachMeshTheFastestFirst) {
  Searched searched("4x4090");
  const auto found = SearchLayouts(searched.space, 4, Nothing);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_THAT(found->fits, SizeIs(4));
  std::vector<std::string> meshes;
  for (size_t i = 0; i < found->fits.size(); ++i) {
    meshes.push_back(MeshName(found->fits[i].candidate.layout.mesh));
    const size_t before = i == 0 ? 0 : i - 1;
    EXPECT_LE(found->fits[before].candidate.cost, found->fits[i].candidate.cost);
    EXPECT_THAT(found->fits[i].candidate.time.stages, Not(IsEmpty())) << "for the chart";
  }
  std::sort(meshes.begin(), meshes.end());
  EXPECT_EQ(std::unique(meshes.begin(), meshes.end()), meshes.end());
  EXPECT_THAT(ReasonFor(*found), HasSubstr("is the fastest that fits"));
}

TEST(Search, BelievesRehearsalsMoreThanTheEstimate) {
  Searched searched("1x24GB");
  const auto near = SearchLayouts(searched.space, 1, Estimated());
  const auto more = SearchLayouts(searched.space, 1, Estimated(5 * kGib));
  ASSERT_TRUE(near.ok() && more.ok());
  ASSERT_THAT(near->fits, SizeIs(1));
  ASSERT_THAT(more->fits, SizeIs(1));
  EXPECT_LE(more->fits[0].needed[0].device, searched.space.room[0]);
  EXPECT_GE(more->fits[0].candidate.time.seconds, near->fits[0].candidate.time.seconds);
}

TEST(Search, NamesTheNearestWhereNothingFits) {
  Searched searched("2x24GB");
  const auto found = SearchLayouts(searched.space, 2, Estimated(100 * kGib));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->fits, IsEmpty());
  EXPECT_THAT(found->too_big, SizeIs(3)) << "tensor, pipeline, replicas";
  EXPECT_EQ(ReasonFor(*found), "nothing fits");
}

TEST(Search, AFullHostIsNoPlace) {
  Searched searched("2x24GB");
  const int64_t host = searched.rig.host_memory_bytes;
  const auto found = SearchLayouts(
      searched.space, 1, [&](const Task&, const Layout&, int) -> absl::StatusOr<RankBytes> {
        return RankBytes{0, host / 2 + 1};
      });
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->fits, IsEmpty());
  ASSERT_THAT(found->too_big, Not(IsEmpty()));
  EXPECT_TRUE(found->too_big[0].host_is_full);
}

// A host that is full tells what else would be too much for it.
TEST(Search, FindsWhatNeedsLessOfTheHost) {
  Searched searched("1x24GB", LoraTask(32));
  searched.rig.host_memory_bytes = 4 * kGib;
  searched.space.kept = {"memory.recompute", "memory.base_weights", "optimizer.state"};
  searched.base.recompute = Recompute::kNone;
  const auto found = SearchLayouts(
      searched.space, 1,
      [&](const Task& task, const Layout& layout, int rank) -> absl::StatusOr<RankBytes> {
        RankBytes bytes = *Estimated()(task, layout, rank);
        bytes.host *= 8;
        return bytes;
      });
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_THAT(found->fits, SizeIs(1));
  EXPECT_LE(found->fits[0].needed[0].host, searched.rig.host_memory_bytes);
}

TEST(Search, LeavesKeptKeysAsTheyAre) {
  Searched searched("4x4090");
  searched.base.recompute = Recompute::kFull;
  searched.base.mesh = {2, 1, 2};
  searched.base.micro_batch_rows = 2;
  searched.space.kept = {"memory.recompute", "parallel.tensor", "train.micro_batch_size"};
  for (const Candidate& each : MakeCandidates(searched.space).all) {
    EXPECT_EQ(each.layout.recompute, Recompute::kFull);
    EXPECT_EQ(each.layout.mesh.tp, 2);
    EXPECT_EQ(each.layout.micro_batch_rows, 2);
  }
  searched.base.mesh = {3, 1, 1};
  const auto none = SearchLayouts(searched.space, 1, Nothing);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("parallel.tensor"));
}

TEST(Search, GivesALargerCardMoreLayers) {
  Searched searched("1x24GB+1x48GB", LoraTask(32));
  searched.space.kept = {"parallel.pipeline"};
  searched.base.mesh = {1, 2, 1};
  std::vector<int> first;
  for (const Candidate& each : MakeCandidates(searched.space).all) {
    if (each.layout.schedule != PipelineKind::kOneForwardOneBackward) continue;
    const std::vector<int>& runs = each.layout.layers_per_run;
    EXPECT_EQ(std::accumulate(runs.begin(), runs.end(), 0), 32);
    first.push_back(runs.front());
  }
  EXPECT_THAT(first, Contains(testing::Lt(12)));
}

TEST(LongestRows, AreFoundToASixteenth) {
  Searched searched("1x24GB");
  const auto found = SearchLayouts(searched.space, 1, Nothing);
  ASSERT_TRUE(found.ok());
  for (const int64_t longest : {int64_t{2048}, int64_t{3000}, int64_t{5000}, int64_t{20000}}) {
    const auto rows =
        LongestRows(searched.space, found->fits[0],
                    [&](const Task& task, const Layout&, int) -> absl::StatusOr<RankBytes> {
                      return RankBytes{task.rows.sequence_len <= longest ? 0 : 100 * kGib, 0};
                    });
    ASSERT_TRUE(rows.ok());
    EXPECT_LE(rows->tokens, longest);
    EXPECT_GE(rows->tokens, std::min<int64_t>(longest * 15 / 16, 8192));
    if (longest > 8192) {
      EXPECT_EQ(rows->too_long, 0) << "as many as the model has positions";
    } else {
      EXPECT_GT(rows->too_long, longest);
      EXPECT_LE(rows->too_long, rows->tokens + std::max<int64_t>(128, rows->tokens / 15));
    }
  }
}

// Packed rows may be: none that the model has positions for is longer.
TEST(LongestRows, AreTheTasksWhereTheModelHasFewerPositions) {
  Searched searched("1x24GB");
  searched.task.rows.sequence_len = 16'384;
  const auto found = SearchLayouts(searched.space, 1, Nothing);
  ASSERT_TRUE(found.ok());
  const auto rows = LongestRows(searched.space, found->fits[0], Nothing);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->tokens, 16'384);
  EXPECT_EQ(rows->too_long, 0);
  PlanReport report;
  report.task = searched.task;
  report.longest = *rows;
  EXPECT_EQ(LongestWords(report),
            "16,384 tokens, as asked for; longer ones were not tried, for the model has 8,192 "
            "positions");
  report.longest.tokens = 8192;
  EXPECT_EQ(LongestWords(report), "8,192 tokens, as many as the model has positions");
}

TEST(PositionsNote, IsOfRowsThatAreLongerAlone) {
  Task task = LoraTask(1);
  task.rows.sequence_len = 8192;
  EXPECT_EQ(PositionsNote(task.model, task.rows), "");
  task.rows.sequence_len = 8193;
  EXPECT_THAT(PositionsNote(task.model, task.rows),
              HasSubstr("rows of 8,193 tokens are longer than the 8,192 that the model has "
                        "positions for: several examples may share one"));
  task.rows.packing = false;
  EXPECT_THAT(PositionsNote(task.model, task.rows), HasSubstr("each is one example"));
}

TEST(FewerCards, AreThoseOfFasterKindsAndPowersOfTwo) {
  const auto tried = [](const char* words) { return CardsToTryAlone(ParseRig(words).value()); };
  using Cards = std::vector<int>;
  EXPECT_THAT(tried("4x4090"), IsEmpty());
  EXPECT_THAT(tried("6x4090/2nodes"), IsEmpty());
  EXPECT_THAT(tried("3x4090"), testing::ElementsAre(Cards{0, 1}));
  EXPECT_THAT(tried("1x3090+1xH100"), testing::ElementsAre(Cards{1}));
  EXPECT_THAT(tried("3xH100+1x3090"), testing::ElementsAre(Cards{0, 1, 2}, Cards{0, 1}));
}

TEST(FewerCards, AreTakenWhereAllTakeLonger) {
  for (const auto& [words, alone] :
       {std::pair{"1xH100+1x3090", true}, {"2x4090", false}, {"1x4090+1xA6000", false}}) {
    Searched searched(words);
    const auto all = SearchLayouts(searched.space, 5, Nothing);
    ASSERT_TRUE(all.ok()) << all.status();
    const auto fewer = SearchFewerCards(searched.space, *all, 5, Nothing);
    ASSERT_TRUE(fewer.ok()) << fewer.status();
    ASSERT_EQ(fewer->has_value(), alone) << words;
    if (!alone) continue;
    EXPECT_THAT((*fewer)->cards, testing::ElementsAre(0));
    EXPECT_THAT((*fewer)->room, SizeIs(1));
    EXPECT_LT((*fewer)->found.fits[0].candidate.cost, all->fits[0].candidate.cost);
    EXPECT_THAT((*fewer)->gain, HasSubstr("(CUDA_VISIBLE_DEVICES=0): all of them take "));
  }
}

// A card too small for its part keeps the others from nothing.
TEST(FewerCards, AreTakenWhereNothingFitsOnAll) {
  Searched searched("2xH100+1x24GB");
  const auto all = SearchLayouts(searched.space, 5, Nothing);
  ASSERT_TRUE(all.ok()) << all.status();
  const auto fewer = SearchFewerCards(searched.space, Found{}, 5, Nothing);
  ASSERT_TRUE(fewer.ok() && fewer->has_value()) << fewer.status();
  EXPECT_THAT((*fewer)->gain, HasSubstr("with all of them nothing fits"));
}

TEST(Candidates, OfEqualTimesTheOneThatTakesLessOfTheHostIsCheaper) {
  Searched searched("2x4090", LoraTask(32));
  for (const Candidate& each : MakeCandidates(searched.space).all) {
    const double host = HostBytes(each.layout.mesh, each.estimate, searched.rig);
    EXPECT_GE(each.cost, each.time.seconds * (1 + 0.02 * host / HostRoomOf(searched.rig)) * 0.999);
  }
}

// Pasted into a config they are the layout again.
class LayoutKeys : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(OfModels, LayoutKeys, testing::Bool(),
                         [](const auto& mixture) { return mixture.param ? "Mixture" : "Dense"; });

TEST_P(LayoutKeys, MeanTheLayout) {
  Searched searched("4x4090", GetParam() ? MixtureTask(8) : LoraTask(8));
  std::vector<Candidate> all = MakeCandidates(searched.space).all;
  for (Candidate& each : MakeCandidates(searched.space).smallest) all.push_back(std::move(each));
  for (const Candidate& each : all) {
    const auto keys = KeysOf(searched.task, each.layout, each.moments);
    const std::string text = YamlOf(keys);
    const auto loaded = config::ParseRunConfig(text, "keys", {});
    ASSERT_TRUE(loaded.ok()) << loaded.status() << "\n" << text;
    const auto layout = LayoutOf(loaded->config, searched.task.model, 4);
    ASSERT_TRUE(layout.ok()) << layout.status() << "\n" << text;
    EXPECT_EQ(KeysOf(searched.task, *layout, each.moments), keys) << text;
    EXPECT_EQ(layout->layers_per_run, each.layout.layers_per_run) << text;
    EXPECT_EQ(layout->mesh.dp, each.layout.mesh.dp);
    EXPECT_EQ(layout->mesh.ep, each.layout.mesh.ep);
    EXPECT_EQ(loaded->config.train().gradient_accumulation_steps(),
              StepShapeOf(searched.task, each.layout).accumulation);
  }
}

}  // namespace
}  // namespace fttrain

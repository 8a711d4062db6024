// What is generated token by token from what is kept is what whole prefixes computed again give,
// in every layout.
#include "launch/run/generation.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "runtime/math/philox.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/model/family_shapes.h"

namespace fttrain {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int64_t kNew = 12;
constexpr int32_t kVocabulary = 37;

// Of 1 to 12 tokens, more than a batch takes.
std::vector<Tokens> Prompts() {
  std::vector<Tokens> prompts(11);
  for (size_t i = 0; i < prompts.size(); ++i) {
    for (uint32_t j = 0; j <= i; ++j) {
      prompts[i].push_back(static_cast<int32_t>(Philox4x32(5, i, j).x[0] % kVocabulary));
    }
  }
  return prompts;
}

std::unique_ptr<Network> BuildForGeneration(const Layout& layout, bool nf4 = false,
                                            void (*like)(LlamaShape&) = nullptr) {
  Task task = TinyTask({.layers = 4, .nf4 = nf4});
  if (like != nullptr) {
    LlamaShape shape = TinyShape(/*tied=*/false, /*layers=*/4);
    like(shape);
    task.model = LlamaLike(shape);
  }
  task.form.adapter->dropout = 0;
  FT_CHECK(CheckLayout(task, layout).ok(), "the layout");
  const JobInputs inputs = TinyInputs(task);
  const StorageOptions storage{.zero_stage = layout.zero_stage,
                               .frozen = layout.frozen,
                               .disk_folder = inputs.scratch_folder,
                               .trains = false};
  auto network = BuildNetwork(task, layout, storage, 12 + kNew, TestProcess(), inputs.device);
  FT_CHECK(network.ok(), network.status().ToString());
  const absl::Status filled = inputs.weights(**network, TestProcess());
  FT_CHECK(filled.ok(), filled.ToString());
  return *std::move(network);
}

// On one rank, by the whole prefix of every token.
std::vector<Answer> Recomputed(Network& network, const std::vector<Tokens>& prompts,
                               const GenerationOptions& options) {
  std::vector<Answer> answers;
  for (const Tokens& prompt : prompts) {
    Tokens ids = prompt;
    Answer& answer = answers.emplace_back();
    while (!answer.ended && static_cast<int64_t>(answer.ids.size()) < options.max_new_tokens) {
      const auto tokens = static_cast<int32_t>(ids.size());
      ModelBatch batch = MakeModelBatch(ids, Tokens(ids.size(), -100), {0, tokens},
                                        std::vector<int64_t>(ids.size()), 0, 1, network.device);
      const at::Tensor row = at::full({1}, tokens - 1, at::kLong).to(network.device);
      const at::Tensor logits = network.transformer->Logits(std::move(batch), row)[0].cpu();
      const int32_t next = ChooseToken(logits, ids, options.sampling, answers.size() - 1);
      answer.ended = std::find(options.stop_ids.begin(), options.stop_ids.end(), next) !=
                     options.stop_ids.end();
      if (answer.ended) break;
      ids.push_back(next);
      answer.ids.push_back(next);
    }
  }
  return answers;
}

void ExpectSame(const std::vector<Answer>& got, const std::vector<Answer>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].ids, want[i].ids) << "prompt " << i;
    EXPECT_EQ(got[i].ended, want[i].ended) << "prompt " << i;
  }
}

std::vector<Layout> Layouts() {
  const int world = TestProcess().world_size();
  std::vector<Layout> layouts = {
      {.mesh = {world, 1, 1}}, {.mesh = {1, world, 1}}, {.mesh = {1, 1, world}, .zero_stage = 3}};
  const auto layer_major = [](Layout layout) {
    layout.schedule = PipelineKind::kLayerMajor;
    layout.layers_per_run = {1, 1, 1, 1};
    return layout;
  };
  layouts.push_back(layer_major({.mesh = {world, 1, 1}, .frozen = FrozenPlace::kDisk}));
  layouts.push_back(layer_major({.mesh = {1, 1, world}, .zero_stage = 3}));
  layouts.push_back({.mesh = {1, world, 1}, .frozen = FrozenPlace::kHost});
  layouts.push_back({.mesh = {world, 1, 1}, .sequence_parallel = true});
  if (world == 2) layouts.push_back({.mesh = {1, 2, 1}, .layers_per_run = {1, 1, 1, 1}});
  if (world == 4) {
    layouts.push_back({.mesh = {2, 2, 1}});
    layouts.push_back({.mesh = {2, 2, 1}, .sequence_parallel = true});
    layouts.push_back({.mesh = {2, 1, 2}, .zero_stage = 3});
    layouts.push_back({.mesh = {1, 2, 2}, .zero_stage = 3, .frozen = FrozenPlace::kDisk});
  }
  return layouts;
}

GenerationOptions Greedy() {
  GenerationOptions options;
  options.max_new_tokens = kNew;
  options.batch_size = 3;
  return options;
}

// With ends that some answers have in their midst: others take their places.
GenerationOptions Ending(const std::vector<Answer>& answers) {
  GenerationOptions options = Greedy();
  options.stop_ids = {answers[1].ids[3], answers[6].ids[5]};
  return options;
}

TEST(Generation, KeptKeysAndValuesGiveTheTokensOfWholePrefixes) {
  const std::vector<Tokens> prompts = Prompts();
  const auto alone = BuildForGeneration({});
  const GenerationOptions options = Ending(Recomputed(*alone, prompts, Greedy()));
  const std::vector<Answer> want = Recomputed(*alone, prompts, options);
  EXPECT_TRUE(want[1].ended);
  EXPECT_TRUE(want[6].ended);
  for (const Layout& layout : Layouts()) {
    SCOPED_TRACE(ToString(layout));
    ExpectSame(Generate(*BuildForGeneration(layout), prompts, options), want);
  }
}

TEST(Generation, OfA4BitBaseGivesThemToo) {
  const auto want = Recomputed(*BuildForGeneration({}, /*nf4=*/true), Prompts(), Greedy());
  for (const Layout& layout : Layouts()) {
    SCOPED_TRACE(ToString(layout));
    ExpectSame(Generate(*BuildForGeneration(layout, true), Prompts(), Greedy()), want);
  }
}

// Keys and values of a cache are expanded, and padded to one size.
TEST(Generation, OfLatentAttentionAndExpertsGivesThemToo) {
  for (const auto like : {LikeDeepseekV2, LikeDeepseekV3}) {
    const auto want = Recomputed(*BuildForGeneration({}, false, like), Prompts(), Greedy());
    for (const Layout& layout : Layouts()) {
      SCOPED_TRACE(ToString(layout));
      ExpectSame(Generate(*BuildForGeneration(layout, false, like), Prompts(), Greedy()), want);
    }
  }
}

// Replicas that have nothing to answer take part all the same: others' tokens go to their experts.
TEST(Generation, OfExpertsThatReplicasDivideGivesThemToo) {
  const int world = TestProcess().world_size();
  if (world == 1) return;  // nobody to divide them with; layouts of more ranks do
  const auto want = Recomputed(*BuildForGeneration({}, false, LikeDeepseekV3), Prompts(), Greedy());
  for (const Layout& layout : {Layout{.mesh = {.dp = world, .ep = world}},
                               Layout{.mesh = {.tp = world / 2, .dp = 2, .ep = 2}, .zero_stage = 1},
                               Layout{.mesh = {.dp = world, .ep = 2}, .zero_stage = 3}}) {
    SCOPED_TRACE(ToString(layout));
    ExpectSame(Generate(*BuildForGeneration(layout, false, LikeDeepseekV3), Prompts(), Greedy()),
               want);
  }
}

TEST(Generation, DrawsDoNotDependOnBatchOrLayout) {
  GenerationOptions options = Greedy();
  options.sampling = {0.9, /*top_k=*/20, /*top_p=*/0.95, /*repetition_penalty=*/1.1, /*seed=*/3};
  const std::vector<Answer> want = Recomputed(*BuildForGeneration({}), Prompts(), options);
  EXPECT_NE(want[3].ids, Recomputed(*BuildForGeneration({}), Prompts(), Greedy())[3].ids);
  for (const Layout& layout : Layouts()) {
    SCOPED_TRACE(ToString(layout));
    const auto network = BuildForGeneration(layout);
    for (const int64_t batch : {1, 4, 64}) {
      options.batch_size = batch;
      ExpectSame(Generate(*network, Prompts(), options), want);
    }
  }
}

// A prompt is told by its number: a part of them is answered as all are.
TEST(Generation, APartOfThePromptsIsAnsweredAsAllAre) {
  GenerationOptions options = Greedy();
  options.sampling.temperature = 1;
  options.sampling.seed = 8;
  const std::vector<Tokens> prompts = Prompts();
  const auto network = BuildForGeneration({.mesh = {1, 1, TestProcess().world_size()}});
  const std::vector<Answer> all = Generate(*network, prompts, options);
  options.first_prompt = 4;
  ExpectSame(Generate(*network, {prompts.begin() + 4, prompts.end()}, options),
             {all.begin() + 4, all.end()});
}

// Each prompt is the one before with its answer and something new, as in a chat; the last is not.
TEST(Generation, AConversationComputesWhatIsNewAndAnswersAsIfItComputedAll) {
  GenerationOptions options = Greedy();
  options.max_new_tokens = 5;
  const auto alone = BuildForGeneration({});
  std::vector<Tokens> prompts = {Prompts()[3]};
  for (const size_t stays : {3, 5}) {  // of the answer: a template may give it another end
    Tokens next = prompts.back();
    const Tokens answer = Recomputed(*alone, {next}, options)[0].ids;
    next.insert(next.end(), answer.begin(), answer.begin() + static_cast<int64_t>(stays));
    next.push_back((answer[std::min<size_t>(stays, 4)] + 1) % kVocabulary);
    next.insert(next.end(), {3, 1, 4});
    prompts.push_back(next);
  }
  prompts.push_back(Prompts()[6]);
  std::vector<Answer> want;
  for (const Tokens& prompt : prompts) want.push_back(Recomputed(*alone, {prompt}, options)[0]);
  const int64_t held = MemoryOf(MemoryCategory::kSaved).current_bytes;
  for (const Layout& layout : Layouts()) {
    SCOPED_TRACE(ToString(layout));
    const auto network = BuildForGeneration(layout, false);
    Remembered remembered;
    options.remembered = &remembered;
    std::vector<Answer> got;
    std::vector<int64_t> recalled;
    for (const Tokens& prompt : prompts) {
      got.push_back(Generate(*network, {prompt}, options)[0]);
      recalled.push_back(remembered.recalled);
    }
    ExpectSame(got, want);
    if (network->mesh->position().dp > 0) continue;  // another replica answers
    const auto length = [&](size_t i) { return static_cast<int64_t>(prompts[i].size()); };
    EXPECT_EQ(recalled, (std::vector<int64_t>{0, length(0) + 3, length(1) + 4, 0}));
  }
  EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).current_bytes, held);
}

TEST(Generation, WhatIsAnsweredIsForgotten) {
  const auto network = BuildForGeneration({});
  const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
  Generate(*network, Prompts(), Greedy());
  EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).current_bytes, before);
}

}  // namespace
}  // namespace fttrain

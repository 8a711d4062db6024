// What several keys, or the number of ranks, get wrong together.
#include "configs/validate_config.h"

#include <gmock/gmock.h>

#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/status_text.h"

namespace fttrain::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Complete for a run; the cases change it with overrides, so that faults name the override.
constexpr char kGood[] =
    "model: {path: m}\n"
    "data: {train: [{path: a.jsonl, format: messages}]}\n"
    "train: {max_steps: 10}\n"
    "output_dir: out\n";

std::string FaultOf(const std::vector<std::string>& overrides, int world_size = 1) {
  const auto loaded = ParseRunConfig(kGood, "run.yaml", overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  const absl::Status status = Validate(*loaded, world_size);
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status));
  return ErrorText(status);
}

struct Contradiction {
  const char* name;
  std::vector<std::string> overrides;
  const char* want;
};

void PrintTo(const Contradiction& bad, std::ostream* out) { *out << bad.name; }

class Contradictions : public ::testing::TestWithParam<Contradiction> {};

TEST_P(Contradictions, AreRefusedWithTheArithmetic) {
  EXPECT_EQ(FaultOf(GetParam().overrides), GetParam().want);
}

const Contradiction kContradictions[] = {
    {"NoModel",
     {"model.path="},
     "run.yaml:1: 'model.path' is missing: the folder of a Hugging Face model"},
    {"NoOutput", {"output_dir="}, "'output_dir' is missing: the folder to write results to"},
    {"NoData",
     {"data.train="},
     "run.yaml:2: 'data.train' is missing or empty: write train: [{path: FILE}]"},
    {"EmptyData",
     {"data.train=[]"},
     "--set data.train=[]: 'data.train' is missing or empty: write train: [{path: FILE}]"},
    {"NoPath", {"data.train.0.path="}, "run.yaml:2: 'data.train[0]' has no path"},
    {"NoDay",
     {"data.date=26.07.2024"},
     "--set data.date=26.07.2024: 'data.date' must be a day written YYYY-MM-DD, not '26.07.2024'"},
    {"NoSuchDay",
     {"data.date=2023-02-29"},
     "--set data.date=2023-02-29: 'data.date' must be a day written YYYY-MM-DD, not '2023-02-29'"},
    {"PromptsOfEachTurn",
     {"data.turns=each", "data.train_on=prompt"},
     "--set data.turns=each: 'data.turns' each with 'data.train_on' prompt learns the turns before "
     "an answer again and again: choose one of the two"},
    {"NoLength",
     {"train.max_steps="},
     "run.yaml:3: 'train.max_steps' or 'train.num_epochs' is missing: how long to train"},
    {"TwoLengths",
     {"train.num_epochs=2", "train.max_steps=3"},
     "--set train.num_epochs=2: 'train.max_steps' and 'train.num_epochs' exclude each other: "
     "remove one"},
    {"WarmupBeyondTheEnd",
     {"schedule.warmup_steps=11"},
     "--set schedule.warmup_steps=11: 'schedule.warmup_steps' 11 exceeds train.max_steps 10"},
    {"MinimumOfAConstant",
     {"schedule.name=constant", "schedule.min_ratio=0.1"},
     "--set schedule.min_ratio=0.1: 'schedule.min_ratio' has no meaning with schedule.name "
     "constant: remove it"},
    {"RankWithoutAdapter",
     {"adapter={method: none, r: 8}"},
     "--set adapter={method: none, r: 8}: 'adapter.r' has no meaning with adapter.method none, "
     "which trains all weights: remove it, or use method lora"},
    {"InitWithoutAdapter",
     {"adapter={method: none, init_from: x}"},
     "--set adapter={method: none, init_from: x}: 'adapter.init_from' has no meaning with "
     "adapter.method none, which trains all weights: remove it, or use method lora"},
    {"QuantisedLora",
     {"adapter.quantization={type: nf4}"},
     "--set adapter.quantization={type: nf4}: 'adapter.quantization' needs adapter.method qlora"},
    {"TrainedEmbeddingOnTheHost",
     {"adapter={method: none}", "memory.embedding=host"},
     "--set memory.embedding=host: 'memory.embedding' host is for a frozen table; adapter.method "
     "none trains it: use device"},
    {"TargetTwice",
     {"adapter.target_modules=[q_proj, v_proj, q_proj]"},
     "--set adapter.target_modules=[q_proj, v_proj, q_proj]: 'adapter.target_modules' has 'q_proj' "
     "twice"},
    {"NoModules",
     {"adapter.target_modules=[]"},
     "--set adapter.target_modules=[]: 'adapter.target_modules' is an empty list: it may be one "
     "beside adapter.target_parameters"},
    {"LayersOfNoModules",
     {"adapter.target_modules=[]", "adapter.target_parameters=[a.b]",
      "adapter.layers_to_transform=0"},
     "--set adapter.layers_to_transform=0: 'adapter.layers_to_transform' has no meaning with "
     "adapter.target_modules []: remove it"},
    {"ParameterTwice",
     {"adapter.target_parameters=[a.b, a.b]"},
     "--set adapter.target_parameters=[a.b, a.b]: 'adapter.target_parameters' has 'a.b' twice"},
    {"DropoutOfParameters",
     {"adapter.target_parameters=[a.b]", "adapter.dropout=0.5"},
     "--set adapter.dropout=0.5: 'adapter.dropout' is above 0, which adapters on parameters "
     "(adapter.target_parameters) do not have in PEFT: set it to 0"},
    {"LayersPatternAlone",
     {"adapter.layers_pattern=layers"},
     "--set adapter.layers_pattern=layers: 'adapter.layers_pattern' has no meaning without "
     "adapter.layers_to_transform: remove it"},
    {"LayersOfARegularExpression",
     {"adapter.target_modules=.*q_proj", "adapter.layers_to_transform=0"},
     "--set adapter.layers_to_transform=0: 'adapter.layers_to_transform' has no meaning with "
     "adapter.target_modules as a regular expression: write the layers into that"},
    {"AllLinearAmongOthers",
     {"adapter.target_modules=[all-linear, lm_head]"},
     "--set adapter.target_modules=[all-linear, lm_head]: 'adapter.target_modules': all-linear "
     "stands alone, not in a list"},
    {"MicrobatchTooLarge",
     {"train.micro_batch_size=4096", "data.sequence_len=1048576"},
     "--set train.micro_batch_size=4096: a microbatch of train.micro_batch_size 4096 x "
     "data.sequence_len 1048576 = 4294967296 tokens exceeds 2147483647"},
    {"AllowsWhatIsNoKey",
     {"train.allow_changed=[data, optimizer.lerning_rate]"},
     "--set train.allow_changed=[data, optimizer.lerning_rate]: 'train.allow_changed': "
     "'optimizer.lerning_rate' is no key that decides what a run computes, nor data or model; did "
     "you mean 'optimizer.learning_rate'?"},
};

INSTANTIATE_TEST_SUITE_P(All, Contradictions, ::testing::ValuesIn(kContradictions),
                         [](const auto& test) { return test.param.name; });

TEST(Validate, AcceptsACompleteRunOnAnyNumberOfDataParallelRanks) {
  for (const int world_size : {1, 2, 3, 8}) EXPECT_EQ(FaultOf({}, world_size), "");
  EXPECT_EQ(FaultOf({"adapter={method: none}"}), "");
  EXPECT_EQ(FaultOf({"train.max_steps=", "train.num_epochs=0.5"}), "");
  EXPECT_EQ(FaultOf({"parallel.tensor=4", "parallel.zero_stage=0"}, 8), "");
  EXPECT_EQ(FaultOf({"schedule.warmup_steps=10"}), "");
  EXPECT_EQ(FaultOf({"data.train.0.format=", "data.date=2024-02-29"}), "");
}

TEST(Validate, ReportsEveryFaultSortedByLine) {
  const auto loaded = ParseRunConfig(
      "train: {max_steps: 5, num_epochs: 1}\nadapter:\n  method: none\n  r: 8\n", "run.yaml", {});
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(Validate(*loaded, 1).message(),
            "run.yaml:1: 'train.max_steps' and 'train.num_epochs' exclude each other: remove one\n"
            "run.yaml:4: 'adapter.r' has no meaning with adapter.method none, which trains all "
            "weights: remove it, or use method lora\n"
            "'model.path' is missing: the folder of a Hugging Face model\n"
            "'output_dir' is missing: the folder to write results to\n"
            "'data.train' is missing or empty: write train: [{path: FILE}]");
}

// The line that would work is the one that was given, with another number of ranks.
TEST(Layout, RanksThatTheModelAxesDoNotDivideAreAnsweredWithLayoutsThatFit) {
  EXPECT_EQ(FaultOf({"parallel.tensor=2"}, 3),
            "--set parallel.tensor=2: parallel.tensor 2 x parallel.pipeline 1 = 2 must divide the "
            "number of ranks, 3; use 'mpirun -np 2 fttrain --config=run.yaml --set "
            "parallel.tensor=2' (1 replica) or 'mpirun -np 4 fttrain --config=run.yaml --set "
            "parallel.tensor=2' (2 replicas) or parallel.tensor 1 on these 3 ranks (3 replicas)");
}

TEST(Layout, FewerRanksThanOneReplicaNeeds) {
  EXPECT_THAT(FaultOf({"parallel.tensor=4", "parallel.pipeline=2"}, 1),
              HasSubstr("parallel.tensor 4 x parallel.pipeline 2 = 8 must divide the number of "
                        "ranks, 1; use 'mpirun -np 8 fttrain --config=run.yaml --set "
                        "parallel.tensor=4 --set parallel.pipeline=2' (1 replica)"));
}

TEST(Layout, ProposesTheLargestTensorSizeThatFits) {
  EXPECT_THAT(FaultOf({"parallel.tensor=8"}, 12),
              HasSubstr(" or parallel.tensor 6 on these 12 ranks (2 replicas)"));
}

TEST(Layout, RanksThatDivideExpertsAreSomeOfTheReplicas) {
  EXPECT_EQ(FaultOf({"parallel.expert=2"}, 4), "");
  EXPECT_EQ(FaultOf({"parallel.expert=2", "parallel.tensor=2"}, 4), "");
  EXPECT_EQ(
      FaultOf({"parallel.expert=4"}, 6),
      "--set parallel.expert=4: 'parallel.expert' 4 must divide the 6 replicas of these ranks, "
      "ranks / (parallel.tensor 1 x parallel.pipeline 1); it can be 1, 2, 3, 6, or start 4 "
      "ranks");
  EXPECT_THAT(
      FaultOf({"parallel.expert=2", "parallel.tensor=2"}, 2),
      HasSubstr("'parallel.expert' 2 must divide the 1 replica of these ranks, ranks / "
                "(parallel.tensor 2 x parallel.pipeline 1); it can be 1, or start 4 ranks"));
}

TEST(Layout, TheLineThatWouldWorkIsQuotedForTheShell) {
  const auto loaded =
      ParseRunConfig(absl::StrCat(kGood, "parallel: {pipeline: 2}\n"), "my run.yaml",
                     {"adapter.target_modules=[q_proj, v_proj]", "model.path=it's"});
  ASSERT_TRUE(loaded.ok());
  EXPECT_THAT(ErrorText(Validate(*loaded, 1)),
              HasSubstr("'mpirun -np 2 fttrain '--config=my run.yaml' --set "
                        "'adapter.target_modules=[q_proj, v_proj]' --set 'model.path=it'\\''s'' "));
}

TEST(BaseWeights, ElsewhereThanOnTheDeviceExcludeWhatWouldHaveThemThere) {
  for (const char* place : {"host", "disk"}) {
    const std::string elsewhere = absl::StrCat("memory.base_weights=", place);
    EXPECT_EQ(FaultOf({elsewhere}), "");
    EXPECT_EQ(FaultOf({elsewhere, "parallel.zero_stage=2", "optimizer.device=host"}, 2), "");
    EXPECT_THAT(FaultOf({elsewhere, "adapter={method: none}"}),
                HasSubstr(absl::StrCat("'memory.base_weights' ", place,
                                       " is for frozen weights, but adapter.method none")));
    EXPECT_EQ(FaultOf({elsewhere, "parallel.zero_stage=3"}, 2), "");
  }
  EXPECT_EQ(FaultOf({"adapter={method: none}", "parallel.zero_stage=3"}, 2), "");
}

TEST(Pipeline, SchedulesThatCannotRunAreRefusedWithAReason) {
  EXPECT_EQ(FaultOf({"parallel.pipeline=2"}, 2), "");
  EXPECT_EQ(FaultOf({"parallel.pipeline=2", "parallel.pipeline_schedule=interleaved",
                     "parallel.chunks_per_stage=3", "parallel.layers_per_stage=[1, 2, 1, 1, 1, 1]"},
                    4),
            "");
  EXPECT_THAT(FaultOf({"parallel.pipeline=2", "parallel.pipeline_schedule=layer_major"}, 2),
              HasSubstr("each stage would wait until the one before has done all its layers"));
  EXPECT_THAT(FaultOf({"parallel.pipeline=2", "parallel.pipeline_schedule=interleaved"}, 2),
              HasSubstr("interleaved needs parallel.chunks_per_stage of at least 2"));
  EXPECT_THAT(
      FaultOf({"parallel.pipeline=2", "parallel.chunks_per_stage=2"}, 2),
      HasSubstr(
          "'parallel.chunks_per_stage' 2 is for parallel.pipeline_schedule interleaved, not 1f1b"));
  EXPECT_THAT(FaultOf({"parallel.pipeline=2", "parallel.layers_per_stage=[1, 2, 3]"}, 2),
              HasSubstr("has 3 numbers, but parallel.pipeline 2 x chunks_per_stage 1 = 2 runs"));
  EXPECT_THAT(
      FaultOf({"parallel.layers_per_stage=[2, 2]", "parallel.pipeline_schedule=layer_major"}, 1),
      AllOf(HasSubstr("has no meaning with pipeline_schedule layer_major"),
            Not(HasSubstr("has 2 numbers"))));
}

TEST(Pipeline, ListsOfNumbersAreCheckedNumberByNumber) {
  const auto fault = [](const std::string& value) {
    return ErrorText(
        ParseRunConfig(absl::StrCat("parallel: {layers_per_stage: ", value, "}\n"), "run.yaml", {})
            .status());
  };
  EXPECT_THAT(fault("4"), HasSubstr("is a list: write layers_per_stage: [18, 14]"));
  EXPECT_THAT(fault("[4, 0]"), HasSubstr("'parallel.layers_per_stage[1]' must be at least 1"));
  EXPECT_THAT(fault("[4, x]"), HasSubstr("'parallel.layers_per_stage[1]' must be a whole number"));
  EXPECT_THAT(fault("[4, [1]]"), HasSubstr("'parallel.layers_per_stage[1]' must be a number"));
}

TEST(Evaluation, KeysWithoutAnythingToEvaluateAreRefused) {
  for (const char* asked : {"train.eval_steps=5", "train.load_best_model_at_end=true",
                            "train.early_stopping_patience=2", "train.sample_prompts=p"}) {
    EXPECT_THAT(FaultOf({asked}, 2), HasSubstr("needs something to evaluate: give data.eval"))
        << asked;
    EXPECT_EQ(FaultOf({asked, "data.eval_fraction=0.1", "train.eval_steps=5"}, 2), "") << asked;
    EXPECT_EQ(FaultOf({asked, "data.eval=[{path: e}]", "train.eval_steps=5"}, 2), "") << asked;
  }
}

TEST(Evaluation, WhatIsHeldOutIsSaidOnce) {
  EXPECT_THAT(FaultOf({"data.eval_fraction=0.1", "data.eval=[{path: e}]"}, 2),
              HasSubstr("both say what is held out: remove one"));
}

TEST(Evaluation, StoppingEarlyNeedsEvaluationsToCount) {
  EXPECT_THAT(FaultOf({"data.eval_fraction=0.1", "train.early_stopping_patience=2"}, 2),
              HasSubstr("set train.eval_steps"));
  EXPECT_THAT(FaultOf({"data.eval_fraction=0.1", "train.load_best_model_at_end=true"}, 2),
              HasSubstr("chooses among the evaluations of a run: set train.eval_steps"));
  EXPECT_THAT(FaultOf({"data.eval_fraction=0.1", "train.early_stopping_threshold=0.2"}, 2),
              HasSubstr("has no meaning without train.early_stopping_patience"));
}

TEST(Evaluation, AnswersAreOfPrompts) {
  EXPECT_THAT(FaultOf({"data.eval_fraction=0.1", "train.sample_max_new_tokens=8"}, 2),
              HasSubstr("has no meaning without train.sample_prompts"));
}

}  // namespace
}  // namespace fttrain::config

// Every way a file is wrong, and the exact lines it is answered with. A text is the whole file;
// what it lacks for a run does not matter, since faults of loading come before faults of
// validation.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "configs/load_config.h"
#include "tests/status_text.h"

namespace fttrain::config {
namespace {

struct BadConfig {
  const char* name;
  const char* text;
  const char* want;
};

void PrintTo(const BadConfig& bad, std::ostream* out) { *out << bad.name; }

class BadConfigs : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigs, AreAnsweredWithFileLineAndReason) {
  const auto loaded = ParseRunConfig(GetParam().text, "run.yaml", {});
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorText(loaded), GetParam().want);
}

constexpr BadConfig kNames[] = {
    {"UnknownKey", "model: {path: m}\ntrain:\n  max_stpes: 3\n",
     "run.yaml:3: unknown key 'max_stpes' in train; did you mean 'max_steps'?"},
    {"UnknownSection", "modle: {path: m}\n",
     "run.yaml:1: unknown key 'modle'; did you mean 'model'?"},
    {"UnknownKeyOfAListElement", "data:\n  train:\n  - path: a\n    fromat: text\n",
     "run.yaml:4: unknown key 'fromat' in data.train[0]; did you mean 'format'?"},
    {"MisspeltKeyOfAnotherSection", "memory:\n  learing_rate: 1\n",
     "run.yaml:2: unknown key 'learing_rate' in memory; did you mean 'optimizer.learning_rate'?"},
    {"KeyLikeNothing", "precision: {quux: 1}\n",
     "run.yaml:1: unknown key 'quux' in precision; keys are compute"},
    {"KeyOfTwoLines", "memory: {\"quux\\nrun.yaml:2: all is well\\e[2J\": 8}\n",
     "run.yaml:1: unknown key 'quux\\x0arun.yaml:2: all is well\\x1b[2J' in memory; keys are "
     "recompute, activations, base_weights, embedding, scratch_folder, limit"},
    {"UpperCaseKey", "adapter: {R: 8}\n", "run.yaml:1: 'R' is adapter.r here"},
    {"RightKeyAtTopLevel", "model: {path: m}\nlearning_rate: 1\n",
     "run.yaml:2: 'learning_rate' is optimizer.learning_rate here"},
    {"RightKeyInWrongSection", "train:\n  sequence_len: 8\n",
     "run.yaml:2: 'sequence_len' is data.sequence_len here"},
    {"KeyThatTwoSectionsHave", "name: adamw\n",
     "run.yaml:1: 'name' is optimizer.name or schedule.name here"},
    {"AxolotlRank", "model: {path: m}\n\n\nlora_r: 8\n", "run.yaml:4: 'lora_r' is adapter.r here"},
    {"AxolotlModel", "base_model: m\n", "run.yaml:1: 'base_model' is model.path here"},
    {"AxolotlDatasets", "datasets:\n  - path: a\n", "run.yaml:1: 'datasets' is data.train here"},
    {"AxolotlDatasetType", "data: {train: [{path: a, type: alpaca}]}\n",
     "run.yaml:1: 'type' is data.train[].format here"},
    {"AxolotlField", "data: {train: [{path: a, field_messages: dialog}]}\n",
     "run.yaml:1: 'field_messages' is data.train[].fields.messages here"},
    {"AxolotlFieldOfTheEvaluation", "data: {eval: [{path: a, message_field_role: who}]}\n",
     "run.yaml:1: 'message_field_role' is data.eval[].fields.role here"},
    {"FieldBesideThePath", "data: {train: [{path: a, content: body}]}\n",
     "run.yaml:1: 'content' is data.train[].fields.content here"},
    {"FieldThatIsNone", "data: {train: [{path: a, fields: {rol: who}}]}\n",
     "run.yaml:1: unknown key 'rol' in data.train[0].fields; did you mean 'role'?"},
    {"NameOfAFieldElsewhere", "output: runs/x\n",
     "run.yaml:1: unknown key 'output'; keys are model, adapter, data, train, optimizer, schedule, "
     "parallel, memory, precision, device, output_dir"},
    {"AxolotlTrainOnInputs", "train_on_inputs: true\n",
     "run.yaml:1: 'train_on_inputs' is data.train_on here (true: prompt)"},
    {"AxolotlWarmupRatio", "schedule:\n  warmup_ratio: 0.1\n",
     "run.yaml:2: 'warmup_ratio' is schedule.warmup_steps here (a count of steps, not a share)"},
    {"LlamaFactoryCutoff", "cutoff_len: 9\n", "run.yaml:1: 'cutoff_len' is data.sequence_len here"},
    {"TrainerEpochsWithDashes", "train: {num-train-epochs: 9}\n",
     "run.yaml:1: 'num-train-epochs' is train.num_epochs here"},
    {"TrainerHalfPrecision", "fp16: true\n", "run.yaml:1: 'fp16' is precision.compute here (bf16)"},
    {"NameWithoutCounterpart", "flash_attention: true\n",
     "run.yaml:1: 'flash_attention' has no key: attention always uses flash kernels"},
    {"DerivedQuantity", "parallel: {dp: 2}\n",
     "run.yaml:1: 'dp' has no key: it is ranks / (parallel.tensor x parallel.pipeline)"},
    {"DuplicateKey", "adapter:\n  r: 8\n  alpha: 16\n  r: 9\n",
     "run.yaml:4: key 'r' appears twice, first on line 2"},
    {"DuplicateSection", "train: {seed: 1}\nmodel: {path: m}\ntrain: {seed: 2}\n",
     "run.yaml:3: key 'train' appears twice, first on line 1"},
    {"ListAsKey", "? [a, b]\n: 1\n", "run.yaml:1: a key must be a word"},
};

constexpr BadConfig kShapes[] = {
    {"WordForASection", "adapter: lora\n",
     "run.yaml:1: 'adapter' is a section: write adapter: {method: lora}"},
    {"PathForASection", "model: models/m\n",
     "run.yaml:1: 'model' is a section: write model: {path: models/m}"},
    {"UnfitWordForASection", "precision: sixteen\n",
     "run.yaml:1: 'precision' is a section: write precision: {compute: bf16}"},
    {"ListForASection", "train: [1]\n",
     "run.yaml:1: 'train' is a section: write train: {max_steps: 1}"},
    {"WordForData", "data: a.jsonl\n",
     "run.yaml:1: 'data' is a section: write data: {train: [{path: FILE}]}"},
    {"WordForAList", "data:\n  train: a.jsonl\n",
     "run.yaml:2: 'data.train' is a list: write train: [{path: FILE}]"},
    {"MapForAList", "data:\n  train: {path: a}\n",
     "run.yaml:2: 'data.train' is a list: write train: [{path: FILE}]"},
    {"WordInAListOfMaps", "data:\n  train:\n    - {path: a}\n    - b.jsonl\n",
     "run.yaml:4: 'data.train[1]' must be a map: write train: [{path: FILE}]"},
    {"MapForAValue", "train: {seed: {a: 1}}\n",
     "run.yaml:1: 'train.seed' must be a single value, not a map"},
    {"ListForAValue", "model:\n  path:\n    - m\n",
     "run.yaml:2: 'model.path' must be a single value, not a list"},
    {"OneNameForTargets", "adapter: {target_modules: q_proj}\n",
     "run.yaml:1: 'adapter.target_modules' is the word all-linear, a regular expression or a list: "
     "write target_modules: [q_proj, v_proj]"},
    {"PatternInTargets", "adapter: {target_modules: [q_proj, '.*_proj']}\n",
     "run.yaml:1: 'adapter.target_modules[1]' is no name; a regular expression stands alone: write "
     "target_modules: '.*_proj'"},
    {"OneNameToExclude", "adapter: {exclude_modules: all-linear}\n",
     "run.yaml:1: 'adapter.exclude_modules' is a regular expression or a list: write "
     "exclude_modules: [q_proj, v_proj]"},
    {"NegativeLayer", "adapter: {layers_to_transform: -1}\n",
     "run.yaml:1: 'adapter.layers_to_transform' must be at least 0, not '-1'"},
    {"ListOfRanks", "adapter: {rank_pattern: [q_proj]}\n",
     "run.yaml:1: 'adapter.rank_pattern' is a map: write rank_pattern: {q_proj: 8}"},
    {"NoRank", "adapter:\n  rank_pattern:\n    q_proj: 0\n    v_proj:\n",
     "run.yaml:3: 'adapter.rank_pattern.q_proj' must be at least 1 and at most 8192, not '0'\n"
     "run.yaml:4: 'adapter.rank_pattern.v_proj' has no value"},
    {"NothingToExclude", "adapter: {exclude_modules: []}\n",
     "run.yaml:1: 'adapter.exclude_modules' is an empty list"},
    {"ListInTargets", "adapter: {target_modules: [[q_proj]]}\n",
     "run.yaml:1: 'adapter.target_modules[0]' must be a word"},
    {"NothingInTargets", "adapter:\n  target_modules:\n  - q_proj\n  -\n",
     "run.yaml:2: 'adapter.target_modules[1]' must be a word"},
    {"ListForAFile", "- a\n",
     "run.yaml:1: the file must be a map of sections (model:, data:, train:, ...), not a list"},
    {"WordForAFile", "\nhello\n",
     "run.yaml:2: the file must be a map of sections (model:, data:, train:, ...), not a single "
     "value"},
    {"EmptyFile", "", "run.yaml: is empty: see configs/quickstart.yaml for an example"},
    {"OnlyComments", "# nothing\n",
     "run.yaml: is empty: see configs/quickstart.yaml for an example"},
    {"StrayText", "# A run\n, its new name\nmodel: {path: m}\n",
     "run.yaml:2: unexpected text: the file must be one map of sections"},
    {"TwoDocuments", "model: {path: m}\n---\ntrain: {seed: 1}\n",
     "run.yaml:2: unexpected text: the file must be one map of sections"},
};

constexpr BadConfig kValues[] = {
    {"WordForANumber", "adapter:\n  r: eight\n",
     "run.yaml:2: 'adapter.r' must be a whole number, not 'eight'"},
    {"ValueOnItsOwnLine", "adapter:\n  r:\n    eight\n",
     "run.yaml:3: 'adapter.r' must be a whole number, not 'eight'"},
    {"FractionForAWholeNumber", "adapter: {r: 8.0}\n",
     "run.yaml:1: 'adapter.r' must be a whole number, not '8.0'"},
    {"ExponentForAWholeNumber", "train: {max_steps: 1e3}\n",
     "run.yaml:1: 'train.max_steps' must be a whole number, not '1e3'"},
    {"Underscores", "train: {max_steps: 1_000}\n",
     "run.yaml:1: 'train.max_steps' must be a whole number, not '1_000': write it without "
     "underscores"},
    {"QuotedNumber", "train: {seed: \"4\"}\n",
     "run.yaml:1: 'train.seed' must be a whole number, not \"4\": remove the quotes"},
    {"Hexadecimal", "train: {seed: 0x10}\n",
     "run.yaml:1: 'train.seed' must be a whole number, not '0x10'"},
    {"LeadingZero", "train: {seed: 010}\n",
     "run.yaml:1: 'train.seed' must be a whole number, not '010'"},
    {"BeyondInt64", "train: {seed: 9223372036854775808}\n",
     "run.yaml:1: 'train.seed' is too large: '9223372036854775808'"},
    {"BeyondInt32", "adapter: {r: 2147483648}\n",
     "run.yaml:1: 'adapter.r' is too large: '2147483648'"},
    {"NegativeSeed", "train: {seed: -1}\n",
     "run.yaml:1: 'train.seed' must be at least 0, not '-1'"},
    {"RankZero", "adapter: {r: 0}\n",
     "run.yaml:1: 'adapter.r' must be at least 1 and at most 8192, not '0'"},
    {"RankTooLarge", "adapter: {r: 9000}\n",
     "run.yaml:1: 'adapter.r' must be at least 1 and at most 8192, not '9000'"},
    {"AlphaZero", "adapter: {alpha: 0}\n", "run.yaml:1: 'adapter.alpha' must be above 0, not '0'"},
    {"DropoutOne", "adapter: {dropout: 1.0}\n",
     "run.yaml:1: 'adapter.dropout' must be at least 0 and below 1, not '1.0'"},
    {"NoSteps", "train: {max_steps: 0}\n",
     "run.yaml:1: 'train.max_steps' must be at least 1, not '0'"},
    {"NoMicrobatch", "train: {micro_batch_size: 0}\n",
     "run.yaml:1: 'train.micro_batch_size' must be at least 1, not '0'"},
    {"ZeroStageFour", "parallel: {zero_stage: 4}\n",
     "run.yaml:1: 'parallel.zero_stage' must be at least 0 and at most 3, not '4'"},
    {"TensorZero", "parallel: {tensor: 0}\n",
     "run.yaml:1: 'parallel.tensor' must be at least 1 and at most 65536, not '0'"},
    {"LearningRateZero", "optimizer: {learning_rate: 0.0}\n",
     "run.yaml:1: 'optimizer.learning_rate' must be above 0, not '0.0'"},
    {"NotANumber", "optimizer: {learning_rate: .nan}\n",
     "run.yaml:1: 'optimizer.learning_rate' must be a finite number, not '.nan'"},
    {"NotANumberInJson", "{\"optimizer\": {\"eps\": NaN}}\n",
     "run.yaml:1: 'optimizer.eps' must be a finite number, not 'NaN'"},
    {"Infinity", "optimizer: {max_grad_norm: -.inf}\n",
     "run.yaml:1: 'optimizer.max_grad_norm' must be a finite number, not '-.inf'"},
    {"BeyondDouble", "optimizer: {learning_rate: 1e400}\n",
     "run.yaml:1: 'optimizer.learning_rate' is too large or too small: '1e400'"},
    {"NumberWithUnit", "optimizer: {learning_rate: 2e-4x}\n",
     "run.yaml:1: 'optimizer.learning_rate' must be a number, not '2e-4x'"},
    {"BetaOne", "optimizer: {beta2: 1}\n",
     "run.yaml:1: 'optimizer.beta2' must be at least 0 and below 1, not '1'"},
    {"NegativeDecay", "optimizer: {weight_decay: -0.1}\n",
     "run.yaml:1: 'optimizer.weight_decay' must be at least 0, not '-0.1'"},
    {"RatioAboveOne", "schedule: {min_ratio: 1.5}\n",
     "run.yaml:1: 'schedule.min_ratio' must be at least 0 and at most 1, not '1.5'"},
    {"NumberForABoolean", "data: {shuffle: 1}\n",
     "run.yaml:1: 'data.shuffle' must be true or false, not '1'"},
    {"OnForABoolean", "data: {shuffle: on}\n",
     "run.yaml:1: 'data.shuffle' must be true or false, not 'on'"},
    {"QuotedBoolean", "data: {shuffle: \"true\"}\n",
     "run.yaml:1: 'data.shuffle' must be true or false, not \"true\": remove the quotes"},
    {"NumberForAPacking", "data: {packing: 1}\n",
     "run.yaml:1: 'data.packing' cannot be '1', only false, true, best_fit"},
    {"WeightOfWhatIsHeldOut", "data: {eval: [{path: a, weight: 2}]}\n",
     "run.yaml:1: 'weight' is data.train[].weight or data.eval[].fields.weight here"},
    {"NoWeight", "data: {train: [{path: a, weight: 0}]}\n",
     "run.yaml:1: 'data.train[0].weight' must be above 0 and at most 1000, not '0'"},
    {"MisspeltWord", "schedule: {name: cosin}\n",
     "run.yaml:1: 'schedule.name' cannot be 'cosin', only constant, linear, cosine; did you mean "
     "'cosine'?"},
    {"UpperCaseWord", "adapter: {method: LoRA}\n",
     "run.yaml:1: 'adapter.method' cannot be 'LoRA', only none, lora, qlora; did you mean 'lora'?"},
    {"WordLikeNothing", "adapter: {method: prefix-tuning}\n",
     "run.yaml:1: 'adapter.method' cannot be 'prefix-tuning', only none, lora, qlora"},
    {"WordKnownElsewhere", "precision: {compute: bfloat16}\n",
     "run.yaml:1: 'precision.compute' cannot be 'bfloat16', only bf16, fp32; did you mean 'bf16'?"},
    {"WordOfTheSchemaItself", "device: unspecified\n",
     "run.yaml:1: 'device' cannot be 'unspecified', only auto, cuda, cpu"},
    {"OptimizerKnownElsewhere", "optimizer: {name: adamw_torch}\n",
     "run.yaml:1: 'optimizer.name' cannot be 'adamw_torch', only adamw; did you mean 'adamw'?"},
    {"FormatKnownElsewhere", "data: {train: [{path: a, format: completion}]}\n",
     "run.yaml:1: 'data.train[0].format' cannot be 'completion', only auto, messages, sharegpt, "
     "prompt_completion, alpaca, text, tokens, preference; did you mean 'text'?"},
    {"WordOfTextKnownElsewhere", "data: {chat_template: tokenizer_default}\n",
     "run.yaml:1: 'data.chat_template' cannot be 'tokenizer_default'; did you mean 'auto'?"},
    {"BooleanForWhatIsLearnt", "data: {train_on: false}\n",
     "run.yaml:1: 'data.train_on' cannot be 'false', only all, last, prompt; did you mean 'all'?"},
    {"EmptyPath", "model: {path: \"\"}\n", "run.yaml:1: 'model.path' must not be empty"},
    {"ControlCharacterInPath", "model: {path: \"a\\tb\"}\n",
     "run.yaml:1: 'model.path' contains a control character: \"a b\""},
};

constexpr BadConfig kSyntax[] = {
    {"UnclosedBrace", "model: {path: m\n", "run.yaml:2: YAML syntax: end of map flow not found"},
    {"TabIndent", "model:\n\tpath: m\n",
     "run.yaml:2: YAML syntax: illegal map value (indented with a tab: use spaces)"},
    {"UnknownAnchor", "model: *base\n",
     "run.yaml:1: YAML syntax: the referenced anchor is not defined"},
    {"BrokenUtf8", "model:\n  path: \xff\n", "run.yaml:2: byte 0xff is not UTF-8 text"},
    {"EscapeOfTheEnd", "model: {path: \"a\\",
     "run.yaml:1: YAML syntax: unknown escape character: ?"},
    {"EscapeOfHalfALetter", "model: {path: \"a\\\u00e9\"}\n",
     "run.yaml:1: YAML syntax: unknown escape character: ?"},
    {"EscapedByte", "model:\n  path: \"a\\_b\"\n",
     R"(run.yaml:2: YAML syntax: the escapes \N and \_ are not known: write \u0085 or \u00a0)"},
    {"EscapedByteInAKey", "\"model\\N\": {path: m}\n",
     R"(run.yaml:1: YAML syntax: the escapes \N and \_ are not known: write \u0085 or \u00a0)"},
    {"ControlCharacter", "model: {path: m}\n\x04train: {seed: 1}\n",
     "run.yaml:2: control character 0x04 is not allowed"},
    {"MergeOfAWord", "train: {<<: x}\n",
     "run.yaml:1: merge key '<<' needs an anchored map or a list of them"},
    {"MergeOfItself", "train: &t\n  <<: *t\n  seed: 1\n",
     "run.yaml:2: merge key '<<' merges more than 100 maps"},
    {"DuplicateBesideMerge", "train:\n  <<: {seed: 1}\n  seed: 2\n  seed: 3\n",
     "run.yaml:4: key 'seed' appears twice, first on line 3"},
};

INSTANTIATE_TEST_SUITE_P(Names, BadConfigs, ::testing::ValuesIn(kNames),
                         [](const auto& test) { return test.param.name; });
INSTANTIATE_TEST_SUITE_P(Shapes, BadConfigs, ::testing::ValuesIn(kShapes),
                         [](const auto& test) { return test.param.name; });
INSTANTIATE_TEST_SUITE_P(Values, BadConfigs, ::testing::ValuesIn(kValues),
                         [](const auto& test) { return test.param.name; });
INSTANTIATE_TEST_SUITE_P(Syntax, BadConfigs, ::testing::ValuesIn(kSyntax),
                         [](const auto& test) { return test.param.name; });

TEST(BadConfig, ReportsEveryFaultSortedByLine) {
  const char text[] =
      "adapter:\n  r: x\n  alpha: -1\nlora_alpha: 3\ntrain: {sed: 1, max_steps: 0}\nadapter: {}\n";
  EXPECT_EQ(ParseRunConfig(text, "run.yaml", {"train.seed=z", "batch_size=3"}).status().message(),
            "run.yaml:2: 'adapter.r' must be a whole number, not 'x'\n"
            "run.yaml:3: 'adapter.alpha' must be above 0, not '-1'\n"
            "run.yaml:4: 'lora_alpha' is adapter.alpha here\n"
            "run.yaml:5: unknown key 'sed' in train; did you mean 'seed'?\n"
            "run.yaml:5: 'train.max_steps' must be at least 1, not '0'\n"
            "run.yaml:6: key 'adapter' appears twice, first on line 1\n"
            "--set train.seed=z: 'train.seed' must be a whole number, not 'z'\n"
            "--set batch_size=3: 'batch_size' is train.micro_batch_size here");
}

TEST(BadConfig, NestedWithoutEndIsAnErrorNotACrash) {
  for (const std::string& piece : {std::string("["), std::string("{a: "), std::string("- ")}) {
    std::string text;
    for (int i = 0; i < 50000; ++i) text += piece;
    EXPECT_EQ(ParseRunConfig(text, "run.yaml", {}).status().message(),
              "run.yaml:1: YAML syntax: nested too deeply");
  }
}

}  // namespace
}  // namespace fttrain::config

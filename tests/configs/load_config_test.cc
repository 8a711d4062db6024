// What loads, what overrides do, and that the printed configuration loads back.
#include "configs/load_config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "configs/defaults.h"
#include "configs/schema.h"
#include "configs/to_yaml.h"
#include "configs/validate_config.h"
#include "tests/status_text.h"

namespace fttrain::config {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

RunConfig Load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const auto loaded = ParseRunConfig(text, "run.yaml", overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? loaded->config : RunConfig();
}

std::string Fault(const std::vector<std::string>& overrides) {
  const std::string text = "data: {train: [{path: a, format: text}]}\n";
  return ErrorText(ParseRunConfig(text, "run.yaml", overrides));
}

// Every key is written, with a value that is no default.
constexpr char kEverything[] = R"(
model: {path: "models/a b: #c"}
adapter:
  method: qlora
  r: 4
  alpha: 7.5
  dropout: 0.1
  target_modules: [q_proj, "model.layers.0.mlp.up_proj"]
  use_rslora: yes
  init_from: null-adapter
  exclude_modules: '.*\.0\.mlp\..*'
  target_parameters: mlp.experts.down_proj
  layers_to_transform: [2, 0]
  layers_pattern: layers
  rank_pattern: {v_proj: 3, '(k|o)_proj': 8, a.v_proj: 1}
  alpha_pattern: {'layers\.1\..*': 0.5}
  quantization: {type: nf4, double_quant: false, block_size: 128, lm_head: true, experts: false}
data:
  train:
    - {path: a.jsonl, format: tokens,
       fields: {messages: t0, role: t1, content: t2, system: t3, tools: t4, documents: t5,
                prompt: t6, completion: t7, instruction: t8, input: t9, output: t10,
                history: t11, text: t12, input_ids: t13, labels: t14, attention_mask: t15,
                chosen: t16, rejected: t17, weight: t18, reasoning_content: t19}, weight: 0.5}
    - {path: "b\\\"é.json", format: prompt_completion}
  eval:
    - {path: "null", format: text,
       fields: {messages: e0, role: e1, content: e2, system: e3, tools: e4, documents: e5,
                prompt: e6, completion: e7, instruction: e8, input: e9, output: e10,
                history: e11, text: e12, input_ids: e13, labels: e14, attention_mask: e15,
                chosen: e16, rejected: e17, weight: e18, reasoning_content: e19}}
  sequence_len: 100
  packing: no
  cache_dir: ~/tokens
  shuffle: no
  chat_template: ~/templates/mine.jinja
  date: 2025-02-28
  train_on: last
  turns: each
  on_bad_row: skip
  eval_fraction: 0.05
train: {max_steps: 9000000000, num_epochs: 1.5, micro_batch_size: 3, gradient_accumulation_steps: 5,
        seed: 9223372036854775807, eval_steps: 6, save_steps: 7, save_total_limit: 2,
        deterministic: True, log_steps: 10, resume: ~/checkpoints/step-7, allow_changed: [data],
        disk_full_wait: 9, max_skipped_steps: 1, skip_loss_spikes: 6.5, check_replicas_steps: 8,
        load_best_model_at_end: true, early_stopping_patience: 3, early_stopping_threshold: 0.01,
        sample_prompts: ~/prompts.jsonl, sample_max_new_tokens: 5, router_aux_loss_coef: 0.25}
optimizer: {name: adamw, learning_rate: 1e-4, weight_decay: 1.0E-2, beta1: .8, beta2: 0.95,
            eps: 3.0000000000000004e-07, max_grad_norm: +0.5, state: int8, device: host}
schedule: {name: linear, warmup_steps: 3, min_ratio: 0.3}
parallel: {tensor: 2, pipeline: 4, zero_stage: 3, sequence_parallel: false,
           pipeline_schedule: layer_major, chunks_per_stage: 2, layers_per_stage: [3, 1, 4],
           timeout_seconds: 60, expert: 3}
memory: {recompute: smart, activations: host, base_weights: disk, embedding: host,
         scratch_folder: /scratch, limit: 20.5}
precision: {compute: fp32}
device: cpu
output_dir: runs/x
)";

// That each key reaches what it sets is keys_test.cc's.
TEST(LoadConfig, ReadsEverySpellingOfAValue) {
  const RunConfig config = Load(kEverything);
  EXPECT_EQ(config.model().path(), "models/a b: #c");
  EXPECT_THAT(config.adapter().target_modules(),
              ElementsAre("q_proj", "model.layers.0.mlp.up_proj"));
  EXPECT_TRUE(config.adapter().use_rslora());
  EXPECT_THAT(config.adapter().exclude_modules(), ElementsAre(R"(.*\.0\.mlp\..*)"));
  EXPECT_THAT(config.adapter().target_parameters(), ElementsAre("mlp.experts.down_proj"));
  EXPECT_THAT(config.adapter().layers_to_transform(), ElementsAre(2, 0));
  EXPECT_THAT(config.adapter().layers_pattern(), ElementsAre("layers"));
  ASSERT_EQ(config.adapter().rank_pattern_size(), 3) << "in their order: the first match counts";
  EXPECT_EQ(config.adapter().rank_pattern(1).modules(), "(k|o)_proj");
  EXPECT_EQ(config.adapter().rank_pattern(1).r(), 8);
  EXPECT_EQ(config.adapter().alpha_pattern(0).alpha(), 0.5);
  EXPECT_EQ(config.data().train(1).path(), "b\\\"\u00e9.json");
  EXPECT_EQ(config.data().train(1).format(), DATA_FORMAT_PROMPT_COMPLETION);
  EXPECT_EQ(config.data().eval(0).path(), "null");
  EXPECT_FALSE(config.data().shuffle());
  EXPECT_EQ(config.data().packing(), PACKING_FALSE);
  EXPECT_EQ(config.data().train(0).weight(), 0.5);
  EXPECT_FALSE(config.data().train(1).has_weight());
  EXPECT_EQ(config.data().train(0).fields().messages(), "t0");
  EXPECT_EQ(config.data().eval(0).fields().reasoning_content(), "e19");
  EXPECT_FALSE(config.data().train(1).has_fields());
  EXPECT_EQ(config.data().chat_template(), "~/templates/mine.jinja");
  EXPECT_EQ(config.data().date(), "2025-02-28");
  EXPECT_EQ(config.train().max_steps(), 9000000000);
  EXPECT_EQ(config.train().seed(), 9223372036854775807);
  EXPECT_TRUE(config.train().deterministic());
  EXPECT_EQ(config.optimizer().learning_rate(), 1e-4);
  EXPECT_EQ(config.optimizer().beta1(), 0.8);
  EXPECT_THAT(config.parallel().layers_per_stage(), ElementsAre(3, 1, 4));
}

TEST(LoadConfig, TheTextAboveHasEveryKeyOfTheSchema) {
  const auto loaded = ParseRunConfig(kEverything, "run.yaml", {});
  ASSERT_TRUE(loaded.ok());
  for (std::string key : AllKeys(*RunConfig::descriptor())) {
    if (const size_t at = key.find("[]"); at != std::string::npos) key.insert(at + 1, "0");
    EXPECT_EQ(loaded->where.count(key), 1u) << key;
  }
}

constexpr char kDefaults[] = R"(
adapter: {method: qlora, r: 16, alpha: 32, dropout: 0, target_modules: all-linear, use_rslora: false,
          quantization: {type: nf4, double_quant: true, block_size: 64, lm_head: false,
                         experts: true}}
data: {sequence_len: 2048, packing: true, shuffle: true, chat_template: auto, date: 2024-07-26,
       train_on: all, turns: whole, on_bad_row: stop, eval_fraction: 0, cache_dir: auto}
train: {micro_batch_size: 1, gradient_accumulation_steps: 1, seed: 42, eval_steps: 0, save_steps: 0,
        save_total_limit: 0, deterministic: false, log_steps: 1, resume: auto, disk_full_wait: 1800,
        max_skipped_steps: 3, skip_loss_spikes: 0, check_replicas_steps: 500,
        load_best_model_at_end: false, early_stopping_patience: 0, early_stopping_threshold: 0}
optimizer: {name: adamw, learning_rate: 2e-4, weight_decay: 0, beta1: 0.9, beta2: 0.999, eps: 1e-8,
            max_grad_norm: 1, state: fp32, device: device}
schedule: {name: cosine, warmup_steps: 0, min_ratio: 0}
parallel: {tensor: 1, pipeline: 1, zero_stage: 1, sequence_parallel: true, pipeline_schedule: 1f1b,
           chunks_per_stage: 1, timeout_seconds: 1800, expert: 1}
memory: {recompute: none, activations: device, base_weights: device, embedding: device}
precision: {compute: bf16}
device: auto
)";

TEST(LoadConfig, EveryDefaultIsWrittenDown) {
  const RunConfig config = Load("adapter: {method: qlora}\n");
  EXPECT_TRUE(MessageDifferencer::Equals(config, Load(kDefaults))) << ToYaml(config);
  const RunConfig empty = Load("model: {path: m}\n");
  EXPECT_EQ(empty.adapter().method(), ADAPTER_METHOD_LORA);
  EXPECT_FALSE(empty.adapter().has_quantization());
}

TEST(LoadConfig, AFileOfAListHasTheDefaultsToo) {
  const RunConfig config = Load("data: {train: [{path: a}, {path: b, format: text}]}\n");
  EXPECT_EQ(config.data().train(0).format(), DATA_FORMAT_AUTO);
  EXPECT_FALSE(config.data().train(0).has_fields());
  EXPECT_EQ(config.data().train(1).format(), DATA_FORMAT_TEXT);
}

void ExpectDefaults(const google::protobuf::Message& section) {
  const google::protobuf::Reflection& reflection = *section.GetReflection();
  for (int i = 0; i < section.GetDescriptor()->field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *section.GetDescriptor()->field(i);
    if (field.options().HasExtension(by_default)) {
      EXPECT_TRUE(field.is_repeated() ? reflection.FieldSize(section, &field) > 0
                                      : reflection.HasField(section, &field))
          << field.full_name() << ": its default is no value of it";
    } else if (field.message_type() != nullptr && !field.is_repeated()) {
      ExpectDefaults(reflection.GetMessage(section, &field));
    }
  }
}

TEST(LoadConfig, EveryDefaultOfTheSchemaIsSet) {
  ExpectDefaults(Load("adapter: {method: qlora}\n"));
}

TEST(LoadConfig, TrainingAllWeightsHasNoAdapterDefaults) {
  const RunConfig config = Load("adapter: {method: none}\n");
  EXPECT_FALSE(config.adapter().has_r());
  EXPECT_EQ(config.adapter().target_modules_size(), 0);
  EXPECT_EQ(config.optimizer().learning_rate(), 2e-5);
}

TEST(LoadConfig, ListsOfModulesMayBeARegularExpression) {
  for (const char* text : {R"(.*\.(up|down)_proj)", R"(a\.[^"]*"b)"}) {
    const RunConfig config =
        Load("adapter: {target_modules: '" + std::string(text) + "', layers_to_transform: 3}\n");
    EXPECT_THAT(config.adapter().target_modules(), ElementsAre(text));
    EXPECT_THAT(config.adapter().layers_to_transform(), ElementsAre(3));
    EXPECT_TRUE(MessageDifferencer::Equals(config, Load(ToYaml(config)))) << ToYaml(config);
  }
  const RunConfig named = Load("adapter: {target_modules: [q_proj], rank_pattern: {a: 1}}\n");
  EXPECT_TRUE(MessageDifferencer::Equals(named, Load(ToYaml(named)))) << ToYaml(named);
  EXPECT_THAT(Load("adapter: {r: 8}\n", {R"(adapter.target_modules=.*[qv]_proj)"})
                  .adapter()
                  .target_modules(),
              ElementsAre(".*[qv]_proj"));
}

TEST(LoadConfig, NoModulesAreNotAllOfThem) {
  const RunConfig none = Load("adapter: {target_modules: [], target_parameters: a.b}\n");
  EXPECT_THAT(none.adapter().target_modules(), ElementsAre(kNoNames));
  EXPECT_THAT(ToYaml(none), HasSubstr("  target_modules: []\n"));
  EXPECT_TRUE(MessageDifferencer::Equals(none, Load(ToYaml(none)))) << ToYaml(none);
  EXPECT_TRUE(MessageDifferencer::Equals(
      none, Load("adapter: {target_parameters: a.b}\n", {"adapter.target_modules=[]"})));
}

TEST(LoadConfig, AnAdapterToStartFromLeavesItsOwnSettingsOpen) {
  const RunConfig config = Load("adapter: {init_from: a, alpha: 8}\n");
  EXPECT_FALSE(config.adapter().has_r());
  EXPECT_FALSE(config.adapter().has_use_rslora());
  EXPECT_TRUE(config.adapter().target_modules().empty());
  EXPECT_EQ(config.adapter().alpha(), 8);
  EXPECT_TRUE(config.adapter().has_dropout()) << "of training";
}

TEST(LoadConfig, FillingDefaultsTwiceChangesNothing) {
  const RunConfig once = Load(kEverything);
  RunConfig twice = once;
  FillDefaults(twice);
  EXPECT_TRUE(MessageDifferencer::Equals(once, twice));
}

TEST(LoadConfig, JsonIsYaml) {
  const RunConfig config = Load(
      "{\n \"adapter\": {\"method\": \"lora\", \"r\": 8, \"init_from\": null},\n"
      " \"optimizer\": {\"eps\": 1e-08}, \"data\": {\"packing\": false}\n}\n");
  EXPECT_EQ(config.adapter().r(), 8);
  EXPECT_FALSE(config.adapter().has_init_from());
  EXPECT_EQ(config.optimizer().eps(), 1e-8);
  EXPECT_EQ(config.data().packing(), PACKING_FALSE);
}

TEST(LoadConfig, KeyWithoutValueIsAbsent) {
  const RunConfig config = Load("adapter:\ntrain:\n  seed:\n  max_steps: ~\n");
  EXPECT_EQ(config.train().seed(), 42);
  EXPECT_FALSE(config.train().has_max_steps());
}

TEST(LoadConfig, MergeKeysGiveWayToWrittenOnesAndToEarlierMerges) {
  const RunConfig config = Load(
      "data:\n  train:\n    - &first {path: a, format: text}\n    - {<<: *first, path: b}\n"
      "    - {<<: [{path: c}, *first]}\n");
  ASSERT_EQ(config.data().train_size(), 3);
  EXPECT_EQ(config.data().train(1).path(), "b");
  EXPECT_EQ(config.data().train(1).format(), DATA_FORMAT_TEXT);
  EXPECT_EQ(config.data().train(2).path(), "c");
  EXPECT_EQ(config.data().train(2).format(), DATA_FORMAT_TEXT);
}

TEST(LoadConfig, ClosingDocumentMarksByteOrderMarkAndWindowsLineEndsDoNotMatter) {
  for (const char* text : {"---\ntrain: {seed: 3}\n---\n", "train: {seed: 3}\n...\n",
                           "\xEF\xBB\xBFmodel: {path: m}\r\ntrain:\r\n  seed: 3\r\n"}) {
    EXPECT_EQ(Load(text).train().seed(), 3) << text;
  }
}

TEST(Overrides, OfOneOfTwoKeysThatSayTheSameTakesTheOthersPlace) {
  const std::string epochs = "train: {num_epochs: 3}\n", steps = "train: {max_steps: 3}\n";
  const RunConfig few = Load(epochs, {"train.max_steps=10"});
  EXPECT_EQ(few.train().max_steps(), 10);
  EXPECT_FALSE(few.train().has_num_epochs());
  const RunConfig one = Load(steps, {"train.num_epochs=1"});
  EXPECT_EQ(one.train().num_epochs(), 1);
  EXPECT_FALSE(one.train().has_max_steps());
  const RunConfig both = Load(epochs, {"train.num_epochs=2", "train.max_steps=10"});
  EXPECT_TRUE(both.train().has_num_epochs()) << "written both ways: that is for validation";
  EXPECT_TRUE(Load(epochs, {"train.max_steps="}).train().has_num_epochs());
}

TEST(Overrides, ReplaceAddAndRemove) {
  const std::string text =
      "train: {seed: 1, max_steps: 5}\n"
      "data: {train: [{path: a, format: text}]}\n"
      "adapter: {target_modules: [q_proj]}\n";
  const RunConfig config =
      Load(text, {"train.seed=7", "train.max_steps=", "train.num_epochs=2",
                  "data.train.0.path=b: #", "data.eval=[{path: e, format: text}]",
                  "data.train.0.fields.text=body", "adapter.target_modules=[k_proj, v_proj]",
                  "output_dir=\"quoted\"", "parallel={tensor: 2}", "train.seed=8"});
  EXPECT_EQ(config.train().seed(), 8);
  EXPECT_FALSE(config.train().has_max_steps());
  EXPECT_EQ(config.train().num_epochs(), 2);
  EXPECT_EQ(config.data().train(0).path(), "b: #");
  EXPECT_EQ(config.data().train(0).format(), DATA_FORMAT_TEXT);
  EXPECT_EQ(config.data().train(0).fields().text(), "body");
  EXPECT_EQ(config.data().eval(0).path(), "e");
  EXPECT_THAT(config.adapter().target_modules(), ElementsAre("k_proj", "v_proj"));
  EXPECT_EQ(config.output_dir(), "quoted");
  EXPECT_EQ(config.parallel().tensor(), 2);
}

TEST(Overrides, FaultsNameTheOverride) {
  EXPECT_EQ(Fault({"adapter.rr=3"}),
            "--set adapter.rr=3: unknown key 'rr' in adapter; did you mean 'r'?");
  EXPECT_EQ(Fault({"lora_r=3"}), "--set lora_r=3: 'lora_r' is adapter.r here");
  EXPECT_EQ(Fault({"adapter"}), "--set adapter: write it as section.key=value");
  EXPECT_EQ(Fault({R"(output_dir="a\_b")"}),
            "--set output_dir=\"a\\_b\": YAML syntax: the escapes \\N and \\_ are not known: write "
            "\\u0085 or \\u00a0");
  EXPECT_EQ(Fault({"=3"}), "--set =3: write it as section.key=value");
  EXPECT_EQ(Fault({"adapter.r.x=3"}),
            "--set adapter.r.x=3: 'adapter.r' is a value: it has no key 'x'");
  EXPECT_EQ(
      Fault({"data.train.1.path=b"}),
      "--set data.train.1.path=b: 'data.train' has no element 1 (its length is 1, the first is 0)");
  EXPECT_EQ(Fault({"data.train.0=b"}), "--set data.train.0=b: name a key of 'data.train[0]'");
  EXPECT_EQ(Fault({"data.train=[{"}),
            "--set data.train=[{: YAML syntax: end of map flow not found");
  EXPECT_EQ(Fault({"output_dir=a\x01"}),
            "--set output_dir=a\\x01: control character 0x01 is not allowed");
}

TEST(Locations, NameFileAndLineOrTheOverride) {
  const auto loaded = ParseRunConfig("data:\n  train:\n    - path: a\n      format: text\n",
                                     "run.yaml", {"train.seed=1"});
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->where.at("data.train[0].format"), "run.yaml:4");
  EXPECT_EQ(loaded->where.at("train.seed"), "--set train.seed=1");
  EXPECT_EQ(loaded->where.count("adapter.r"), 0u);
}

TEST(Files, AbsentFileFolderAndEndlessFileAreErrors) {
  const std::string folder = ::testing::TempDir();
  EXPECT_EQ(LoadRunConfig(folder + "/no-such.yaml", {}).status(),
            absl::NotFoundError(folder + "/no-such.yaml: No such file or directory"));
  EXPECT_EQ(LoadRunConfig(folder, {}).status(),
            absl::InvalidArgumentError(folder + ": is a folder, not a YAML file"));
  EXPECT_EQ(LoadRunConfig("/dev/zero", {}).status(),
            absl::InvalidArgumentError(
                "/dev/zero: is longer than 262144 bytes: this is no run configuration"));
}

TEST(ToYaml, LoadsBackToAnEqualMessage) {
  for (const char* text : {kEverything, "adapter: {method: none}\n", "model: {path: \"~\"}\n",
                           "model: {path: '- a'}\noutput_dir: '1'\n", "device: cuda\n"}) {
    const RunConfig config = Load(text);
    for (const Comments comments : {Comments::kNone, Comments::kSchema}) {
      const std::string yaml = ToYaml(config, comments);
      EXPECT_TRUE(MessageDifferencer::Equals(Load(yaml), config)) << yaml;
    }
  }
}

TEST(ToYaml, SaysOnceWhatTheKeysOfAFileMean) {
  const std::string yaml =
      ToYaml(Load("data: {train: [{path: a, fields: {role: \"who is\"}}, {path: b}]}\n"),
             Comments::kSchema);
  EXPECT_THAT(yaml, ::testing::HasSubstr("    # path: A file of rows, "));
  EXPECT_THAT(yaml,
              ::testing::HasSubstr("\n    - {path: a, format: auto, fields: {role: \"who is\"}}\n"
                                   "    - {path: b, format: auto}\n"));
}

TEST(ToYaml, ShowsTheSchemasComments) {
  EXPECT_THAT(
      ToYaml(Load("adapter: {r: 8}\n"), Comments::kSchema),
      ::testing::HasSubstr("  # Rank of the update B A. Default: 16, or init_from's.\n  r: 8\n"));
}

TEST(Recipes, LoadAndValidate) {
  int recipes = 0;
  for (const auto& file : std::filesystem::directory_iterator(FTTRAIN_SOURCE_DIR "/configs")) {
    if (file.path().extension() != ".yaml") continue;
    ++recipes;
    const auto loaded = LoadRunConfig(file.path().string(), {}).value();
    const int group = loaded.config.parallel().tensor() * loaded.config.parallel().pipeline();
    EXPECT_EQ(Validate(loaded, 2 * group), absl::OkStatus());
  }
  EXPECT_GT(recipes, 0);
}

TEST(Recipes, QuickstartTakesEightDialoguesAStepOnTwoRanks) {
  const auto loaded = LoadRunConfig(FTTRAIN_SOURCE_DIR "/configs/quickstart.yaml", {}).value();
  EXPECT_EQ(Validate(loaded, 2), absl::OkStatus());
  const TrainConfig& train = loaded.config.train();
  EXPECT_EQ(loaded.config.parallel().pipeline(), 2);
  EXPECT_EQ(train.micro_batch_size() * train.gradient_accumulation_steps(), 8);
  EXPECT_EQ(loaded.config.data().packing(), PACKING_FALSE);
  EXPECT_TRUE(std::filesystem::exists(std::string(FTTRAIN_SOURCE_DIR "/") +
                                      loaded.config.data().train(0).path()));
}

}  // namespace
}  // namespace fttrain::config

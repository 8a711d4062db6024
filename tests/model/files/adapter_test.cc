#include "model/files/adapter.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "model/files/adapter_config.h"
#include "model/files/weight_loader.h"
#include "model/linears/peft_names.h"
#include "tests/model/tiny_llama.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// As peft 0.21 writes it.
Json PeftConfig() {
  return Json::parse(R"({
    "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
    "base_model_name_or_path": "models/tiny", "bias": "none", "corda_config": null,
    "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
    "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
    "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 16, "lora_bias": false,
    "lora_dropout": 0.1, "megatron_config": null, "megatron_core": "megatron.core",
    "modules_to_save": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16,
    "r": 4, "rank_pattern": {}, "revision": null, "target_modules": ["v_proj", "q_proj"],
    "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null,
    "use_dora": false, "use_qalora": false, "use_rslora": true})");
}

const ModelSpec& Model() {
  static const ModelSpec model = LlamaLike(TinyLlama(/*layers=*/4));
  return model;
}

const char kQ[] = "model.layers.0.self_attn.q_proj";

std::vector<AdapterTensor> Tensors() {
  return {{PeftName(kQ, Factor::kA), at::arange(8, at::kFloat).view({2, 4})},
          {PeftName(kQ, Factor::kB), at::arange(6, at::kDouble).view({2, 3}).t()}};
}

AdapterForm Config() {
  AdapterForm config;
  config.r = 2;
  config.alpha = 16.0;
  config.dropout = 0.05;
  config.target_modules = {{"q_proj"}};
  config.base_model_name_or_path = "models/tiny";
  return config;
}

TEST(AdapterFiles, ReadWhatPeftWrites) {
  const TempFolder folder;
  folder.Write("adapter_config.json", PeftConfig().dump());
  const auto config = ReadAdapterConfig(folder.path()).value();
  EXPECT_EQ(config.r, 4);
  EXPECT_EQ(config.alpha, 16.0);
  EXPECT_EQ(config.dropout, 0.1);
  EXPECT_TRUE(config.use_rslora);
  EXPECT_THAT(config.target_modules.names, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(config.base_model_name_or_path, "models/tiny");
}

TEST(AdapterFiles, ReadBackWhatTheyWrite) {
  const TempFolder parent;
  const std::string folder = parent / "runs/adapter";  // created
  ASSERT_TRUE(WriteAdapter(folder, Config(), Tensors()).ok());
  const auto config = ReadAdapterConfig(folder).value();
  EXPECT_TRUE(CompareAdapters(folder, config, Config(), Model()).ok());
  EXPECT_EQ(config.dropout, 0.05);
  EXPECT_EQ(config.base_model_name_or_path, "models/tiny");
  const auto tensors = OpenAdapterTensors(folder).value();
  EXPECT_THAT(tensors->Names(),
              ElementsAre("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                          "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"));
  const auto b =
      LoadSlice(*tensors, PeftName(kQ, Factor::kB), {3, 2}, 0, 1, 2, at::kFloat, at::kCPU).value();
  EXPECT_TRUE(at::equal(b, at::tensor({1.f, 4.f, 2.f, 5.f}).view({2, 2})));
  EXPECT_EQ(tensors->Find(PeftName(kQ, Factor::kB))->dtype, SafetensorsDtype::kF32);
}

TEST(AdapterFiles, CarryPeftsKeysAndFormat) {
  const TempFolder folder;
  ASSERT_TRUE(WriteAdapter(folder.path(), Config(), Tensors()).ok());
  const Json json = Json::parse(*ReadFile(folder / "adapter_config.json"));
  EXPECT_EQ(json["peft_type"], "LORA");
  EXPECT_EQ(json["task_type"], "CAUSAL_LM");
  EXPECT_TRUE(json["lora_alpha"].is_number_integer()) << "PEFT declares an integer";
  EXPECT_EQ(json["target_modules"], Json::array({"q_proj"}));
  EXPECT_EQ(json["bias"], "none");
  const auto file = SafetensorsFile::Open(folder / "adapter_model.safetensors");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
}

TEST(AdapterFiles, SpellAllLinearAsPeftDoes) {
  const TempFolder folder;
  AdapterForm config = Config();
  config.target_modules = {{"all-linear"}};
  ASSERT_TRUE(WriteAdapter(folder.path(), config, Tensors()).ok());
  EXPECT_EQ(Json::parse(*ReadFile(folder / "adapter_config.json"))["target_modules"], "all-linear");
  EXPECT_TRUE(ReadAdapterConfig(folder.path())->target_modules.AllLinear());
}

TEST(AdapterFiles, KeepWhatChoosesModulesRanksAndScales) {
  const std::pair<const char*, const char*> cases[] = {
      {"a name's end, of some layers",
       R"({"target_modules": ["mlp.up_proj", "q_proj"], "layers_to_transform": [0, 2],
           "layers_pattern": ["layers"], "exclude_modules": ["layers.0.mlp.up_proj"],
           "rank_pattern": {"z": 8, "a": 2}, "alpha_pattern": {"^model.*up_proj": 2.5}})"},
      {"a regular expression", R"({"target_modules": ".*\\.(q|z)_proj",
                                   "exclude_modules": ".*\\.3\\..*"})"},
  };
  for (const auto& [what, text] : cases) {
    const TempFolder folder, second;
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(PeftConfig().dump());
    const auto keys = nlohmann::ordered_json::parse(text);
    for (const auto& [key, value] : keys.items()) json[key] = value;
    folder.Write("adapter_config.json", json.dump());
    const AdapterForm form = ReadAdapterConfig(folder.path()).value();
    const auto again = nlohmann::ordered_json::parse(AdapterConfigJson(form));
    for (const auto& [key, value] : keys.items()) EXPECT_EQ(again[key], value) << what;
  }
}

TEST(AdapterFiles, TakeOneLayerOrListOfLayersAsOne) {
  const TempFolder folder;
  Json json = PeftConfig();
  json["layers_to_transform"] = 3;
  json["layers_pattern"] = "layers";
  folder.Write("adapter_config.json", json.dump());
  const auto form = ReadAdapterConfig(folder.path()).value();
  EXPECT_THAT(form.layers_to_transform, ElementsAre(3));
  EXPECT_THAT(form.layers_pattern, ElementsAre("layers"));
}

TEST(AdapterFiles, OfOtherKindsAreRefusedByKey) {
  const std::pair<const char*, Json> cases[] = {
      {"peft_type", "IA3"},
      {"peft_type", nullptr},
      {"use_dora", true},
      {"use_qalora", true},
      {"rank_pattern", {"q_proj", 8}},
      {"alpha_pattern", 8},
      {"bias", "all"},
      {"lora_bias", true},
      {"modules_to_save", {"lm_head"}},
      {"layers_to_transform", {-1}},
      {"layers_to_transform", "all"},
      {"layers_pattern", {1}},
      {"exclude_modules", 1},
      {"megatron_config", {{"a", 1}}},
      {"target_parameters", "experts"},
      {"trainable_token_indices", {1}},
      {"layer_replication", {{0, 1}}},
      {"fan_in_fan_out", true},
      {"task_type", "SEQ_CLS"},
      {"init_lora_weights", "pissa"},
      {"init_lora_weights", "olora"},
      {"a_feature_of_the_future", "on"},
      {"a_feature_of_the_future", nullptr},
      {"target_modules", {"q_proj", "all-linear"}},
      {"r", 0},
      {"r", "8"},
      {"lora_alpha", -1},
      {"lora_dropout", 1.0},
      {"lora_dropout", -0.5},
      {"use_rslora", "yes"},
      {"target_modules", nullptr},
      {"target_modules", Json::array()},
      {"target_modules", {1}},
  };
  for (const auto& [key, value] : cases) {
    const TempFolder folder;
    Json json = PeftConfig();
    json[key] = value;
    folder.Write("adapter_config.json", json.dump());
    const auto config = ReadAdapterConfig(folder.path());
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << key << " " << value;
    EXPECT_THAT(ErrorText(config),
                HasSubstr((folder / "adapter_config.json") + ": '" + key + "' "));
  }
}

TEST(AdapterFiles, ThatAreMissingAreNamed) {
  const TempFolder folder;
  EXPECT_EQ(ReadAdapterConfig(folder.path()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenAdapterTensors(folder.path()).status().code(), absl::StatusCode::kNotFound);
  folder.Write("adapter_model.bin", "\x80");
  EXPECT_THAT(ErrorText(OpenAdapterTensors(folder.path())),
              HasSubstr("adapter_model.bin is not supported"));
}

TEST(AdapterFiles, NameThePatternThatIsNoRank) {
  const TempFolder folder;
  Json json = PeftConfig();
  json["rank_pattern"] = {{"q_proj", 0}};
  folder.Write("adapter_config.json", json.dump());
  EXPECT_THAT(ErrorText(ReadAdapterConfig(folder.path())),
              HasSubstr("adapter_config.json: rank_pattern: 'q_proj' "));
  json["rank_pattern"] = {{"q_\n\x1b[2J", 0}};
  folder.Write("adapter_config.json", json.dump());
  EXPECT_THAT(ErrorText(ReadAdapterConfig(folder.path())), HasSubstr("'q_\\n\\x1b[2J' "));
  json["rank_pattern"] = {{std::string(1 << 20, 'q'), 0}};
  folder.Write("adapter_config.json", json.dump());
  EXPECT_LT(ErrorText(ReadAdapterConfig(folder.path())).size(), 1000u);
  json["rank_pattern"] = Json::object();
  json["target_modules"] = ".*q_proj";
  json["layers_to_transform"] = {0};
  folder.Write("adapter_config.json", json.dump());
  EXPECT_THAT(
      ErrorText(ReadAdapterConfig(folder.path())),
      HasSubstr("'layers_to_transform' has no meaning beside target_modules as one string"));
}

// Of the model's q and v, in two layers of four.
std::vector<AdapterTensor> TensorsOf(const AdapterForm& form) {
  std::vector<AdapterTensor> tensors;
  for (const TensorSpec& tensor : AdapterTensors(Model(), form)) {
    tensors.push_back({tensor.name, at::zeros(tensor.shape)});
  }
  return tensors;
}

TEST(OpenAdapterFolder, KnowsWhatEachLinearHas) {
  const TempFolder folder;
  AdapterForm form = Config();
  form.target_modules = {{}, R"(.*layers\.[02]\.self_attn\.[qv]_proj)"};
  form.rank_pattern = {{"v_proj", 3}};
  ASSERT_TRUE(WriteAdapter(folder.path(), form, TensorsOf(form)).ok());
  const auto adapter = OpenAdapterFolder(folder.path(), Model());
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->modules.size(), 4);
  EXPECT_EQ(adapter->modules.at("model.layers.2.self_attn.v_proj").r, 3);
  EXPECT_EQ(adapter->modules.at("model.layers.0.self_attn.q_proj").scale, 8.0);
}

TEST(OpenAdapterFolder, SaysWhichLayersTheTensorsAreOnWhereTheConfigMeansOthers) {
  const TempFolder folder;
  AdapterForm form = Config();
  form.layers_to_transform = {0, 2};
  const std::vector<AdapterTensor> tensors = TensorsOf(form);
  form.layers_to_transform = {};
  ASSERT_TRUE(WriteAdapter(folder.path(), form, tensors).ok());
  EXPECT_THAT(
      ErrorText(OpenAdapterFolder(folder.path(), Model())),
      HasSubstr("adapter_model.safetensors: adapts q_proj of layers 0, 2, but target_modules "
                "[q_proj] and what goes with it in the adapter's config means q_proj of this "
                "model's 4 layers"));
  form.rank_pattern = {{"q_proj", 5}};
  ASSERT_TRUE(WriteAdapter(folder.path(), form, TensorsOf(Config())).ok());
  EXPECT_THAT(ErrorText(OpenAdapterFolder(folder.path(), Model())),
              HasSubstr("[2, 32] for [5, 32]"));
}

TEST(CompareAdapters, ReportsEveryDifferenceWithBothValues) {
  AdapterForm run = Config();
  run.r = 8;
  run.alpha = 32.5;
  run.use_rslora = true;
  run.target_modules = {{"v_proj", "q_proj"}};
  const absl::Status status = CompareAdapters("a", Config(), run, Model());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      ErrorText(status),
      "a/adapter_config.json: r 2 there, 8 in this run; lora_alpha 16 there, 32.5 in this run; "
      "use_rslora false there, true in this run; target_modules [q_proj] there, [v_proj, q_proj] "
      "in this run (it is on q_proj; this run asks for q_proj, v_proj)");
}

TEST(CompareAdapters, IgnoresDropoutAndOtherWordsForTheSame) {
  AdapterForm saved = Config(), run = Config();
  saved.target_modules = {{"q_proj", "v_proj"}};
  run.target_modules = {{"v_proj", "self_attn.q_proj"}};
  run.dropout = 0.5;
  EXPECT_TRUE(CompareAdapters("a", saved, run, Model()).ok());
  saved.target_modules = {{"all-linear"}};
  EXPECT_FALSE(CompareAdapters("a", saved, run, Model()).ok());
  run.target_modules = {{}, R"(.*_proj)"};
  EXPECT_TRUE(CompareAdapters("a", saved, run, Model()).ok());
  run.r = 99;
  run.rank_pattern = {{"..*", 2}};
  EXPECT_TRUE(CompareAdapters("a", saved, run, Model()).ok());
}

TEST(WriteAdapter, LeavesTheOldAdapterWhenTheDiskIsFull) {
  const TempFolder folder;
  ASSERT_TRUE(WriteAdapter(folder.path(), Config(), Tensors()).ok());
  const std::string old = *ReadFile(folder / "adapter_config.json");

  signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit = {1 << 16, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  AdapterForm other = Config();
  other.r = 99;
  const absl::Status status =
      WriteAdapter(folder.path(), other, {{PeftName(kQ, Factor::kA), at::zeros({99, 4096})}});
  setrlimit(RLIMIT_FSIZE, &before);

  EXPECT_THAT(ErrorText(status), HasSubstr(folder / "adapter_model.safetensors"));
  EXPECT_EQ(*ReadFile(folder / "adapter_config.json"), old);
  EXPECT_EQ((*OpenAdapterTensors(folder.path()))->Names().size(), 2);
  EXPECT_EQ(folder.FileCount(), 2) << "no temporary files";
}

}  // namespace
}  // namespace fttrain

#include "model/files/adapter.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "model/files/weight_loader.h"
#include "model/linears/peft_names.h"
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
  config.target_modules = {"q_proj"};
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
  EXPECT_THAT(config.target_modules, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(config.base_model_name_or_path, "models/tiny");
}

TEST(AdapterFiles, ReadBackWhatTheyWrite) {
  const TempFolder parent;
  const std::string folder = parent / "runs/adapter";  // created
  ASSERT_TRUE(WriteAdapter(folder, Config(), Tensors()).ok());
  const auto config = ReadAdapterConfig(folder).value();
  EXPECT_TRUE(CompareAdapterConfigs(folder, config, Config()).ok());
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
  config.target_modules = {"all-linear"};
  ASSERT_TRUE(WriteAdapter(folder.path(), config, Tensors()).ok());
  EXPECT_EQ(Json::parse(*ReadFile(folder / "adapter_config.json"))["target_modules"], "all-linear");
  EXPECT_THAT(ReadAdapterConfig(folder.path())->target_modules, ElementsAre("all-linear"));
}

TEST(AdapterFiles, TakeTheModulesOfARegularExpressionFromTheTensors) {
  const TempFolder folder;
  ASSERT_TRUE(WriteAdapter(folder.path(), Config(), Tensors()).ok());
  Json json = PeftConfig();
  json["target_modules"] = R"(.*\.(q|z)_proj)";
  folder.Write("adapter_config.json", json.dump());
  const auto config = ReadAdapterConfig(folder.path()).value();
  EXPECT_THAT(config.target_modules, ElementsAre("q_proj"));
}

TEST(AdapterFiles, OfOtherKindsAreRefusedByKey) {
  const std::pair<const char*, Json> cases[] = {
      {"peft_type", "IA3"},
      {"peft_type", nullptr},
      {"use_dora", true},
      {"use_qalora", true},
      {"rank_pattern", {{"q_proj", 8}}},
      {"alpha_pattern", {{"q_proj", 8}}},
      {"bias", "all"},
      {"lora_bias", true},
      {"modules_to_save", {"lm_head"}},
      {"layers_to_transform", {0}},
      {"exclude_modules", {"lm_head"}},
      {"target_parameters", {"experts"}},
      {"trainable_token_indices", {1}},
      {"layer_replication", {{0, 1}}},
      {"fan_in_fan_out", true},
      {"task_type", "SEQ_CLS"},
      {"init_lora_weights", "pissa"},
      {"init_lora_weights", "olora"},
      {"a_feature_of_the_future", "on"},
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

TEST(CompareAdapterConfigs, ReportsEveryDifferenceWithBothValues) {
  AdapterForm run = Config();
  run.r = 8;
  run.alpha = 32.5;
  run.use_rslora = true;
  run.target_modules = {"v_proj", "q_proj"};
  const absl::Status status = CompareAdapterConfigs("a", Config(), run);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      ErrorText(status),
      "a/adapter_config.json: r 2 there, 8 in this run; lora_alpha 16 there, 32.5 in this run; "
      "use_rslora false there, true in this run; "
      "target_modules [q_proj] there, [q_proj, v_proj] in this run");
}

TEST(CompareAdapterConfigs, IgnoresOrderDropoutAndAllLinear) {
  AdapterForm saved = Config(), run = Config();
  saved.target_modules = {"q_proj", "v_proj"};
  run.target_modules = {"v_proj", "q_proj"};
  run.dropout = 0.5;
  EXPECT_TRUE(CompareAdapterConfigs("a", saved, run).ok());
  saved.target_modules = {"all-linear"};
  EXPECT_TRUE(CompareAdapterConfigs("a", saved, run).ok());
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

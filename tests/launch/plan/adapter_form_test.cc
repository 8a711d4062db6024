#include "launch/plan/adapter_form.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <string>
#include <vector>

#include "configs/load_config.h"
#include "configs/to_yaml.h"
#include "tests/model/family_shapes.h"
#include "tests/model/tiny_llama.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A saved adapter, and the config that starts from it.
class FromAnAdapter : public ::testing::Test {
 protected:
  void Save(const std::string& keys) {
    folder_.Write("adapter_config.json", R"({"peft_type": "LORA", )" + keys + "}");
  }
  config::RunConfig Config(const std::string& adapter) {
    const std::string text = "model: {path: m}\nadapter: {init_from: " + folder_.path() +
                             (adapter.empty() ? "" : ", " + adapter) + "}\n";
    const auto loaded = config::ParseRunConfig(text, "run.yaml", {});
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return loaded.ok() ? loaded->config : config::RunConfig();
  }
  absl::StatusOr<AdapterForm> Form(const std::string& adapter) {
    return AdapterFormOf(Config(adapter), model_);
  }

  const ModelSpec model_ = LlamaLike(TinyLlama(/*layers=*/4));
  const TempFolder folder_;
};

constexpr char kSaved[] = R"("r": 4, "lora_alpha": 8, "use_rslora": true, "lora_dropout": 0.5,
    "target_modules": ["self_attn.v_proj", "self_attn.q_proj"], "layers_to_transform": [0, 2],
    "rank_pattern": {"v_proj": 2}, "base_model_name_or_path": "other")";

TEST_F(FromAnAdapter, WhatIsNotWrittenIsItsOwn) {
  Save(kSaved);
  const AdapterForm form = Form("").value();
  EXPECT_EQ(form.r, 4);
  EXPECT_EQ(form.alpha, 8);
  EXPECT_TRUE(form.use_rslora);
  EXPECT_THAT(form.target_modules.names, ElementsAre("self_attn.q_proj", "self_attn.v_proj"));
  EXPECT_THAT(form.layers_to_transform, ElementsAre(0, 2));
  EXPECT_EQ(form.On("model.layers.2.self_attn.v_proj")->r, 2);
  EXPECT_EQ(form.dropout, 0) << "of training";
  EXPECT_EQ(form.base_model_name_or_path, "m") << "no folder: a name of the hub";
}

TEST_F(FromAnAdapter, NamesABaseThatIsAFolderByItsWholePath) {
  Save(kSaved);
  config::RunConfig run = Config("");
  run.mutable_model()->set_path("./.");
  const std::string here = (std::filesystem::current_path() / "").string();
  EXPECT_EQ(AdapterFormOf(run, model_)->base_model_name_or_path, here);
}

TEST_F(FromAnAdapter, WhatIsWrittenMayMeanTheSameInOtherWords) {
  Save(kSaved);
  EXPECT_TRUE(Form("r: 4, alpha: 8, target_modules: [q_proj, v_proj], dropout: 0.25").ok());
  const auto form = Form(R"(target_modules: '.*layers\.[02]\.self_attn\.[qv]_proj')");
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_THAT(form->layers_to_transform, ElementsAre()) << "PEFT takes it beside lists alone";
}

TEST_F(FromAnAdapter, WhatIsWrittenAndDiffersIsRefusedWithBoth) {
  Save(kSaved);
  EXPECT_EQ(ErrorText(Form("r: 8, alpha: 16")),
            folder_.path() +
                "/adapter_config.json: r 4 there, 8 in this run; "
                "lora_alpha 8 there, 16 in this run");
  EXPECT_EQ(ErrorText(Form("target_modules: [q_proj], layers_to_transform: 2")),
            folder_.path() +
                "/adapter_config.json: target_modules [self_attn.q_proj, "
                "self_attn.v_proj] there, [q_proj] in this run; layers_to_transform "
                "[0, 2] there, [2] in this run (it is on q_proj, v_proj of layers 0, "
                "2; this run asks for q_proj of layer 2)");
  EXPECT_THAT(ErrorText(Form("rank_pattern: {q_proj: 2}")),
              HasSubstr("rank_pattern {v_proj: 2} there, {q_proj: 2} in this run"));
}

TEST_F(FromAnAdapter, OfAnotherModelIsRefusedInItsOwnWords) {
  Save(R"("target_modules": ["c_attn"])");
  EXPECT_THAT(ErrorText(Form("")), AllOf(HasSubstr("adapter_config.json: target_modules [c_attn] "
                                                   "means no linear module of this model's"),
                                         HasSubstr("choose from q_proj, ")));
  Save(R"x("target_modules": ".*(q_proj|lm_head)")x");
  EXPECT_THAT(ErrorText(Form("")), HasSubstr("lm_head cannot be adapted here"));
}

TEST_F(FromAnAdapter, TheResolvedConfigHasItsSettings) {
  Save(kSaved);
  config::RunConfig run = Config("");
  EXPECT_THAT(config::ToYaml(run), Not(HasSubstr("r: 16")));
  RecordAdapterForm(AdapterFormOf(run, model_).value(), run);
  const std::string yaml = config::ToYaml(run);
  EXPECT_THAT(
      yaml,
      AllOf(HasSubstr("r: 4\n"), HasSubstr("alpha: 8\n"), HasSubstr("use_rslora: true\n"),
            HasSubstr("target_modules: [self_attn.q_proj, self_attn.v_proj]\n"),
            HasSubstr("layers_to_transform: [0, 2]\n"), HasSubstr("rank_pattern: {v_proj: 2}\n")));
  const auto again = config::ParseRunConfig(yaml, "config.yaml", {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(AdapterFormOf(again->config, model_).ok());
}

absl::StatusOr<AdapterForm> Fresh(const std::vector<std::string>& overrides) {
  const auto loaded = config::ParseRunConfig("model: {path: m}\n", "run.yaml", overrides);
  if (!loaded.ok()) return loaded.status();
  return AdapterFormOf(loaded->config, LlamaLike(TinyLlama(/*layers=*/4)));
}

TEST(AFreshAdapter, IsOnTheModulesOfItsKeys) {
  const AdapterForm all = Fresh({"adapter.layers_to_transform=[1, 3]"}).value();
  EXPECT_THAT(all.target_modules.names, ElementsAre("q_proj", "k_proj", "v_proj", "o_proj",
                                                    "gate_proj", "up_proj", "down_proj"));
  EXPECT_TRUE(all.On("model.layers.3.mlp.up_proj").has_value());
  EXPECT_FALSE(all.On("model.layers.0.mlp.up_proj").has_value());
  const AdapterForm some = Fresh({R"(adapter.target_modules=.*\.[02]\..*[qv]_proj)"}).value();
  EXPECT_EQ(some.target_modules.regex, R"(.*\.[02]\..*[qv]_proj)");
  EXPECT_TRUE(some.On("model.layers.2.self_attn.v_proj").has_value());
  EXPECT_FALSE(some.On("model.layers.2.self_attn.k_proj").has_value());
}

TEST(AFreshAdapter, MayBeOnExpertsAlone) {
  LlamaShape shape = TinyLlama();
  LikeMixtral(shape);
  const ModelSpec model = LlamaLike(shape);
  const auto loaded = config::ParseRunConfig(
      "model: {path: m}\n", "run.yaml",
      {"adapter.target_modules=[]", "adapter.target_parameters=[mlp.experts.down_proj]"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const AdapterForm form = AdapterFormOf(WithOwnTargets(*loaded, model), model).value();
  EXPECT_TRUE(form.target_modules.empty());
  EXPECT_FALSE(form.On("model.layers.0.self_attn.q_proj").has_value());
  EXPECT_TRUE(form.OnParameter("model.layers.0.mlp.experts.down_proj").has_value());
}

TEST(AFreshAdapter, IsRefusedByTheKeyThatIsWithoutEffect) {
  const std::pair<std::string, std::string> cases[] = {
      {"adapter.target_modules=[q_proj, c_attn]", "adapter: target_modules c_attn is no linear"},
      {"adapter.target_modules=.*[qv]_prj", "adapter: target_modules '.*[qv]_prj' means no linear"},
      {"adapter.target_modules=.*(q_proj", "regular expression .*(q_proj does not compile"},
      {"adapter.layers_to_transform=[1, 4]", "layers_to_transform 4: the model has 4 layers"},
      {"adapter.exclude_modules=[q_prj]", "adapter: exclude_modules [q_prj] means no module"},
      {"adapter.rank_pattern={q_prj: 2}", "adapter: rank_pattern q_prj matches no adapted module"},
  };
  for (const auto& [override_, error] : cases) {
    EXPECT_THAT(ErrorText(Fresh({override_})), HasSubstr(error)) << override_;
  }
}

}  // namespace
}  // namespace fttrain

// Which modules PEFT's settings mean, and what each has there. PEFT itself is asked in
// tests/parity/peft_test.py.
#include "model/linears/adapter_modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/linears/python_regex.h"
#include "tests/model/family_shapes.h"
#include "tests/model/tiny_llama.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const ModelSpec& Model() {
  static const ModelSpec model = LlamaLike(TinyLlama(/*layers=*/4));
  return model;
}

// What the form means in the model, in words.
std::string Meant(const AdapterForm& form) {
  const auto modules = AdaptedModules(Model(), form);
  return modules.ok() ? DescribeModules(*modules, 4) : modules.status().ToString();
}

TEST(PythonRegex, MatchesWholeNames) {
  const PythonRegex regex = PythonRegex::Compile(R"(a|ab|(?P<x>c)\.d)").value();
  EXPECT_TRUE(*regex.FullMatch("ab")) << "a later alternative, since the first leaves a rest";
  EXPECT_TRUE(*regex.FullMatch("c.d"));
  EXPECT_FALSE(*regex.FullMatch("abc"));
  EXPECT_FALSE(*regex.FullMatch("xab"));
  EXPECT_EQ(*regex.GroupOfMatch("c.dd", "x"), "c");
  EXPECT_EQ(*regex.GroupOfMatch("ab", "x"), std::nullopt);
  EXPECT_EQ(*regex.GroupOfMatch("xab", "x"), std::nullopt);
}

TEST(PythonRegex, RefusesWhatDoesNotCompileOrPythonReadsOtherwise) {
  EXPECT_THAT(
      ErrorText(PythonRegex::Compile("a(b")),
      AllOf(HasSubstr("the regular expression a(b does not compile: "), HasSubstr("at offset 3")));
  for (const char* pattern : {"[[:alpha:]]", "a{,2}", "(*FAIL)", R"(\h)", R"(\Qa\E)", "(?<n>a)",
                              "(?R)", R"(\z)", "a(?i)b", R"([\Z])", R"(\)"}) {
    EXPECT_THAT(ErrorText(PythonRegex::Compile(pattern)), HasSubstr("not supported")) << pattern;
  }
  for (const char* pattern : {"(?i)A", R"(a\.[^\].]*?(?:b|c)+$)", "[]a]", R"(^\d{1,2}(?!x)\w)"}) {
    EXPECT_TRUE(PythonRegex::Compile(pattern).ok()) << pattern;
  }
}

TEST(PythonRegex, ThatDoesNotEndIsAnError) {
  const PythonRegex regex = PythonRegex::Compile("(a|aa|aaa)*[bc]").value();
  EXPECT_EQ(regex.FullMatch(std::string(64, 'a')).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(AdaptedModules, AreThoseOfNamesAndOfTheirEnds) {
  const auto of = [](std::vector<std::string> names) {
    return Meant({.target_modules = {std::move(names)}});
  };
  EXPECT_EQ(of({"v_proj", "q_proj"}), "q_proj, v_proj");
  EXPECT_EQ(of({"self_attn.q_proj", "layers.3.mlp.up_proj"}), "q_proj; up_proj of layer 3");
  EXPECT_EQ(of({"model.layers.1.self_attn.k_proj"}), "k_proj of layer 1");
  EXPECT_EQ(of({"proj"}), "") << "an end begins behind a dot";
  EXPECT_EQ(of({"all-linear"}), "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
}

TEST(AdaptedModules, AreThoseThatARegularExpressionMatchesWhole) {
  const auto of = [](std::string regex) {
    return Meant({.target_modules = {{}, std::move(regex)}});
  };
  EXPECT_EQ(of(R"(.*layers\.[02]\.self_attn\.[qv]_proj)"), "q_proj, v_proj of layers 0, 2");
  EXPECT_EQ(of("q_proj"), "");
  EXPECT_EQ(of(R"(model\.layers\.\d+\.mlp\.(up|down)_proj)"), "up_proj, down_proj");
  EXPECT_THAT(of("(up"), HasSubstr("does not compile"));
}

TEST(AdaptedModules, AreNotThoseExcluded) {
  AdapterForm form{.target_modules = {{"all-linear"}}};
  form.exclude_modules = {{"mlp.up_proj", "layers.0.mlp.down_proj", "o_proj", "lm_head"}};
  EXPECT_EQ(Meant(form), "q_proj, k_proj, v_proj, gate_proj; down_proj of layers 1-3");
  form.exclude_modules = {{}, R"(.*\.(mlp\..*|[ko]_proj))"};
  EXPECT_EQ(Meant(form), "q_proj, v_proj");
}

TEST(AdaptedModules, AreOfTheLayersToTransform) {
  AdapterForm form{.target_modules = {{"q_proj", "model.layers.3.mlp.up_proj"}}};
  form.layers_to_transform = {0, 1};
  EXPECT_EQ(Meant(form), "q_proj of layers 0, 1; up_proj of layer 3")
      << "a whole name is meant in any case";
  form.layers_pattern = {"blocks", "layers"};
  EXPECT_EQ(Meant(form), "q_proj of layers 0, 1; up_proj of layer 3");
  form.layers_pattern = {"h"};
  EXPECT_EQ(Meant(form), "up_proj of layer 3");
}

TEST(AdapterForm, HasRanksAndScalesOfTheFirstPatternThatMatches) {
  AdapterForm form{.r = 4, .alpha = 8, .target_modules = {{"all-linear"}}};
  form.rank_pattern = {{"layers.0.self_attn.q_proj", 2}, {"q_proj", 3}, {R"(layers\.1\..*)", 16}};
  form.alpha_pattern = {{"^model.layers.1.self_attn.q_proj", 6}, {"(k|v)_proj", 1}};
  const auto on = [&](const std::string& module) { return *form.On("model.layers." + module); };
  EXPECT_EQ(on("0.self_attn.q_proj").r, 2);
  EXPECT_EQ(on("0.self_attn.q_proj").scale, 4.0);
  EXPECT_EQ(on("1.self_attn.q_proj").r, 3);
  EXPECT_EQ(on("1.self_attn.q_proj").scale, 2.0);
  EXPECT_EQ(on("1.mlp.up_proj").r, 16);
  EXPECT_EQ(on("1.self_attn.v_proj").scale, 1.0 / 16);
  EXPECT_EQ(on("3.mlp.up_proj").r, 4);
  EXPECT_EQ(on("10.self_attn.o_proj").r, 4) << "not layer 0, nor layer 1";
  form.use_rslora = true;
  EXPECT_EQ(on("1.mlp.up_proj").scale, 2.0);
  EXPECT_EQ(on("1.self_attn.q_proj").scale, 6.0 / std::sqrt(3.0));
}

TEST(AdapterTensors, HaveTheShapesOfEachLinear) {
  AdapterForm form{.r = 4, .target_modules = {{}, R"(.*\.2\.self_attn\.[qo]_proj)"}};
  form.rank_pattern = {{"o_proj", 5}};
  const std::vector<TensorSpec> tensors = AdapterTensors(Model(), form);
  ASSERT_EQ(tensors.size(), 4);
  EXPECT_EQ(tensors[0].name, "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight");
  EXPECT_THAT(tensors[0].shape, ElementsAre(4, 32));
  EXPECT_THAT(tensors[1].shape, ElementsAre(40, 4));
  EXPECT_THAT(tensors[2].shape, ElementsAre(5, 40));
  EXPECT_THAT(tensors[3].shape, ElementsAre(32, 5));
}

std::string Refusal(const AdapterForm& form) {
  return std::string(CheckAdapter(Model(), form, "f").message());
}

TEST(CheckAdapter, NamesWhatCannotBeAdapted) {
  const std::string choices =
      "; choose from q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or all-linear";
  const auto of = [](ModuleNames modules) {
    return Refusal({.target_modules = std::move(modules)});
  };
  EXPECT_EQ(of({{"q_proj", "lm_head"}}),
            "f: target_modules [q_proj, lm_head]: lm_head cannot be adapted here" + choices);
  EXPECT_THAT(of({{"embed_tokens"}}), HasSubstr("model.embed_tokens cannot be adapted"));
  EXPECT_THAT(of({{"mlp"}}), HasSubstr("[mlp]: model.layers.0.mlp cannot be adapted"));
  EXPECT_THAT(of({{}, ".*(q_proj|layernorm)"}),
              HasSubstr("'.*(q_proj|layernorm)': model.layers.0.input_layernorm cannot"));
  EXPECT_EQ(of({{}, "q_proj"}),
            "f: target_modules 'q_proj' means no linear module of this model's 4 layers" + choices);
  EXPECT_THAT(of({{}, "(q_proj"}), AllOf(HasSubstr("f: the regular expression (q_proj does not")));
  EXPECT_EQ(of({}), "f: target_modules is empty: name modules, or all-linear");
  EXPECT_EQ(of({{"all-linear"}}), "");
  EXPECT_EQ(of({{"q_proj", "c_attn"}}), "") << "PEFT passes over names of other models";
}

TEST(CheckAdapter, SaysWhatLeavesNoModule) {
  AdapterForm form{.target_modules = {{"q_proj"}}};
  form.layers_to_transform = {4, 7};
  EXPECT_THAT(Refusal(form), HasSubstr("[q_proj] in layers_to_transform [4, 7] means no linear"));
  form.layers_to_transform = {};
  form.exclude_modules = {{"self_attn.q_proj"}};
  EXPECT_THAT(Refusal(form), HasSubstr("without exclude_modules [self_attn.q_proj] means no"));
}

TEST(CheckAdapterEntries, RefusesWhatIsWithoutEffect) {
  const auto check = [](const std::function<void(AdapterForm&)>& change) {
    AdapterForm form{.target_modules = {{"q_proj", "v_proj"}}};
    change(form);
    return std::string(CheckAdapterEntries(Model(), form, "adapter").message());
  };
  EXPECT_EQ(check([](AdapterForm&) {}), "");
  EXPECT_THAT(
      check([](AdapterForm& f) { f.target_modules.names.push_back("c_attn"); }),
      HasSubstr("adapter: target_modules c_attn is no linear module of this model; choose"));
  EXPECT_EQ(check([](AdapterForm& f) {
              f.layers_to_transform = {0, 4};
            }),
            "adapter: layers_to_transform 4: the model has 4 layers, the first is 0");
  EXPECT_EQ(check([](AdapterForm& f) {
              f.rank_pattern = {{"q_proj", 2}, {"k_proj", 2}};
            }),
            "adapter: rank_pattern k_proj matches no adapted module or parameter");
  EXPECT_EQ(check([](AdapterForm& f) {
              f.alpha_pattern = {{"layers.9", 2}};
            }),
            "adapter: alpha_pattern layers.9 matches no adapted module or parameter");
  EXPECT_EQ(check([](AdapterForm& f) {
              f.exclude_modules = {{"lm_head", "score"}};
            }),
            "adapter: exclude_modules [score] means no module of this model");
  EXPECT_EQ(check([](AdapterForm& f) { f.exclude_modules = {{}, ".*k_proj"}; }), "");
}

TEST(LinearLeaves, AreInTheOrderOfTheLayerThoseOfThisModelAlone) {
  ModelSpec model = Model();
  for (LayerSpec& layer : model.layers.Change()) layer.pop_back();  // no MLP
  EXPECT_THAT(LinearLeaves(model), ElementsAre("q_proj", "k_proj", "v_proj", "o_proj"));
}

TEST(DescribeModules, GroupsWhatIsOnTheSameLayers) {
  EXPECT_EQ(DescribeModules({"a.0.x", "a.0.y", "a.1.x", "a.1.y", "a.3.x", "a.3.y", "a.3.z"}, 5),
            "x, y of layers 0, 1, 3; z of layer 3");
  EXPECT_EQ(DescribeModules({"a.0.x", "a.2.x", "a.3.x", "a.4.x"}, 6), "x of layers 0, 2-4");
}

TEST(CheckAdapterEntries, TakesPatternsOfExpertsParameters) {
  LlamaShape shape = TinyLlama(/*layers=*/2);
  LikeQwen3Moe(shape);
  AdapterForm form = {.target_modules = {{"q_proj"}},
                      .rank_pattern = {{"mlp.experts.down_proj", 3}},
                      .target_parameters = {"mlp.experts.down_proj"}};
  EXPECT_EQ(CheckAdapterEntries(LlamaLike(shape), form, "adapter").message(), "");
  form.target_parameters = {"mlp.experts.gate_up_proj"};
  EXPECT_THAT(ErrorText(CheckAdapterEntries(LlamaLike(shape), form, "adapter")),
              HasSubstr("rank_pattern mlp.experts.down_proj matches no adapted module or"));
}

// Of gpt_oss files have the experts' parameters together, and PEFT takes all-linear for what it
// says.
TEST(CheckAdapter, TakesAllLinearForAttentionWhereFilesHaveExpertsTogether) {
  LlamaShape shape = TinyLlama(/*layers=*/2);
  LikeGptOss(shape);
  const ModelSpec model = LlamaLike(shape);
  const AdapterForm all = {.target_modules = {{ModuleNames::kAllLinear}}};
  EXPECT_TRUE(CheckAdapter(model, all, "adapter").ok());
  EXPECT_EQ(AdapterTensors(model, all).size(), 2 * 4 * 2);
  for (const char* name :
       {"gate_up_proj", "down_proj", "layers.1.mlp.experts.down_proj", "router"}) {
    EXPECT_THAT(ErrorText(CheckAdapter(model, {.target_modules = {{"q_proj", name}}}, "adapter")),
                AllOf(HasSubstr(" cannot be adapted here (PEFT takes this name"),
                      HasSubstr("; choose from q_proj, k_proj, v_proj, o_proj, or all-linear")))
        << name;
  }
}

// PEFT 0.21 takes names of experts' modules for what all experts of a layer have together, and
// forgets the dense layers' modules of these names.
TEST(CheckAdapter, RefusesNamesThatPeftTakesForExperts) {
  LlamaShape shape = TinyLlama(/*layers=*/4);
  LikeQwen3Moe(shape);
  const ModelSpec model = LlamaLike(shape);
  const auto complaint = [&](ModuleNames targets) {
    return ErrorText(CheckAdapter(model, {.target_modules = std::move(targets)}, "adapter"));
  };
  EXPECT_THAT(LinearLeaves(model), ElementsAre("q_proj", "k_proj", "v_proj", "o_proj"));
  EXPECT_TRUE(CheckAdapter(model, {.target_modules = {{"q_proj", "o_proj"}}}, "adapter").ok());
  EXPECT_THAT(complaint({{ModuleNames::kAllLinear}}),
              AllOf(HasSubstr("adapter: target_modules all-linear: of a model with experts PEFT"),
                    HasSubstr("choose from q_proj, k_proj, v_proj, o_proj")));
  for (const char* name : {"up_proj", "layers.0.mlp.up_proj", "layers.2.mlp.experts.1.up_proj"}) {
    EXPECT_THAT(complaint({{"q_proj", name}}),
                AllOf(HasSubstr("up_proj cannot be adapted here (PEFT takes this name"),
                      HasSubstr("; choose from q_proj, k_proj, v_proj, o_proj")))
        << name;
  }
  EXPECT_THAT(complaint({{"gate"}}), HasSubstr("mlp.gate cannot be adapted here (PEFT"));
  EXPECT_THAT(complaint({{}, ".*(q|gate)_proj"}), HasSubstr("gate_proj cannot be adapted here"));
}

// PEFT takes shared experts' names so, too; latents' linears it knows as they are.
TEST(CheckAdapter, AdaptsLatentAttentionAndNoSharedExperts) {
  LlamaShape shape = TinyLlama(/*layers=*/4);
  LikeDeepseekV3(shape);
  const ModelSpec model = LlamaLike(shape);
  const std::vector<std::string> all = {"q_a_proj", "kv_a_proj_with_mqa", "q_b_proj", "kv_b_proj",
                                        "o_proj"};
  EXPECT_EQ(LinearLeaves(model), all);
  EXPECT_TRUE(CheckAdapter(model, {.target_modules = {all}}, "adapter").ok());
  for (const char* name : {"down_proj", "shared_experts.gate_proj", "layers.0.mlp.up_proj"}) {
    EXPECT_THAT(ErrorText(CheckAdapter(model, {.target_modules = {{name}}}, "adapter")),
                HasSubstr("cannot be adapted here (PEFT takes this name"))
        << name;
  }
}

}  // namespace
}  // namespace fttrain

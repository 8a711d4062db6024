// What configs of families with experts come to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config/checks.h"
#include "tests/model/config/tiny_config.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const MoeSpec& Moe(const ModelSpec& model, size_t layer = 0) {
  return std::get<MoeSpec>(model.layers.at(layer).at(1).body);
}
// 1 for each layer that has experts.
std::vector<int> Sparse(const ModelSpec& model) {
  std::vector<int> sparse;
  for (const LayerSpec& layer : model.layers) {
    sparse.push_back(std::holds_alternative<MoeSpec>(layer.at(1).body));
  }
  return sparse;
}

TEST(Mixtral, HasExpertsInEveryLayerByTheNamesOfTheHub) {
  const ModelSpec model = Read(Config("mixtral"));
  EXPECT_THAT(Sparse(model), ElementsAre(1, 1, 1, 1));
  const MoeSpec& moe = Moe(model, 2);
  EXPECT_EQ(moe.num_experts(), 8);
  EXPECT_EQ(moe.top_k, 2);
  EXPECT_TRUE(moe.renormalize);
  EXPECT_EQ(moe.router.name, "model.layers.2.block_sparse_moe.gate");
  EXPECT_EQ(moe.router.out, 8);
  EXPECT_EQ(moe.experts[7].gate.name, "model.layers.2.block_sparse_moe.experts.7.w1");
  EXPECT_EQ(moe.experts[7].up.name, "model.layers.2.block_sparse_moe.experts.7.w3");
  EXPECT_EQ(moe.experts[7].down.name, "model.layers.2.block_sparse_moe.experts.7.w2");
  EXPECT_EQ(moe.experts[7].gate.out, 96);
  EXPECT_DOUBLE_EQ(moe.experts[7].down.token_share, 0.25);
  EXPECT_DOUBLE_EQ(model.ropes.at(0).theta, 1e6);
  EXPECT_DOUBLE_EQ(model.head.norm.form.eps, 1e-5);
  EXPECT_EQ(std::get<AttentionSpec>(model.layers[0][0].body).window, 0);
  EXPECT_THAT(ToString(model), HasSubstr("heads 4/2, experts 2/8, "));
  EXPECT_TRUE(model.notes.empty());
}

TEST(Mixtral, RefusesWhatIsNotComputed) {
  EXPECT_THAT(Complaint(Config("mixtral", {{"router_jitter_noise", 0.1}})),
              HasSubstr("'router_jitter_noise' is not 0"));
  EXPECT_TRUE(Read(Config("mixtral", {{"router_jitter_noise", 0.0}})).num_layers() == 4);
  EXPECT_THAT(Complaint(Config("mixtral", {{"num_experts_per_tok", 9}})),
              HasSubstr("'num_experts_per_tok' is 9 of 8 experts"));
}

// As transformers adds it; it has none for other families' routers.
TEST(RouterLoss, IsWhatConfigJsonAsksForOfFamiliesThatHaveIt) {
  for (const char* family : {"mixtral", "qwen3_moe", "gpt_oss"}) {
    const auto loss = [&](const Json& more) { return Read(Config(family, more)).router_loss; };
    EXPECT_EQ(loss({{"router_aux_loss_coef", 0.5}}), 0) << family;
    EXPECT_EQ(loss({{"output_router_logits", true}}), 0.001) << family;
    EXPECT_EQ(loss({{"output_router_logits", true}, {"router_aux_loss_coef", 0.5}}), 0.5);
    EXPECT_EQ(loss({{"output_router_logits", true}, {"router_aux_loss_coef", 0}}), 0);
    EXPECT_THAT(
        Complaint(Config(family, {{"output_router_logits", true}, {"router_aux_loss_coef", -1}})),
        HasSubstr("'router_aux_loss_coef'"));
  }
  const Json asks = {{"output_router_logits", true},
                     {"router_aux_loss_coef", 0.5},
                     {"num_key_value_heads", 4},
                     {"num_experts_per_tok", 2}};
  for (const char* family : {"llama", "deepseek_v2", "deepseek_v3"}) {
    EXPECT_EQ(Read(Config(family, asks)).router_loss, std::nullopt) << family;
  }
  Json dense = Config("qwen3_moe", asks);
  dense["mlp_only_layers"] = {0, 1, 2, 3};
  EXPECT_EQ(Read(dense).router_loss, std::nullopt) << "no layer has experts";
}

TEST(Qwen3Moe, HasExpertsInSomeLayers) {
  const Json few = {{"num_experts", 6}, {"num_experts_per_tok", 3}, {"moe_intermediate_size", 24}};
  const ModelSpec model = Read(Config("qwen3_moe", few));
  EXPECT_THAT(Sparse(model), ElementsAre(1, 1, 1, 1));
  EXPECT_FALSE(Moe(model).renormalize);
  EXPECT_EQ(Moe(model).experts[5].down.name, "model.layers.0.mlp.experts.5.down_proj");
  EXPECT_EQ(Moe(model).experts[5].down.in, 24);
  EXPECT_TRUE(std::get<AttentionSpec>(model.layers[0][0].body).q_norm.has_value());
  const auto with = [&](const Json& more) {
    Json config = Config("qwen3_moe", few);
    config.merge_patch(more);
    return config;
  };
  EXPECT_THAT(Sparse(Read(with({{"mlp_only_layers", {1, 9}}}))), ElementsAre(1, 0, 1, 1));
  EXPECT_THAT(Sparse(Read(with({{"decoder_sparse_step", 2}}))), ElementsAre(0, 1, 0, 1));
  EXPECT_TRUE(Moe(Read(with({{"norm_topk_prob", true}}))).renormalize);
  // transformers 5 writes the other name.
  Json renamed = with({{"num_local_experts", 6}});
  renamed.erase("num_experts");
  EXPECT_EQ(Moe(Read(renamed)).num_experts(), 6);
  EXPECT_THAT(Complaint(with({{"num_local_experts", 7}})),
              HasSubstr("'num_experts' is 6, num_local_experts 7"));
  EXPECT_THAT(Complaint(with({{"mlp_only_layers", 1}})), HasSubstr("must be a list of layers"));
}

TEST(Qwen3Moe, ListsTheTensorsOfFiles) {
  const ModelSpec model = Read(Config("qwen3_moe", {{"num_experts", 2},
                                                    {"num_experts_per_tok", 1},
                                                    {"moe_intermediate_size", 24},
                                                    {"num_hidden_layers", 1}}));
  std::vector<std::string> names, may_be_nf4;
  for (const TensorSpec& tensor : ModelTensors(model)) {
    if (tensor.name.find(".mlp.") != std::string::npos) names.push_back(tensor.name.substr(19));
  }
  for (const TensorSpec& tensor : LinearMatrices(model)) {
    if (tensor.name.find(".mlp.") != std::string::npos) {
      may_be_nf4.push_back(tensor.module.substr(19));
    }
  }
  EXPECT_THAT(names,
              ElementsAre("gate.weight", "experts.0.gate_proj.weight", "experts.0.up_proj.weight",
                          "experts.0.down_proj.weight", "experts.1.gate_proj.weight",
                          "experts.1.up_proj.weight", "experts.1.down_proj.weight"));
  EXPECT_EQ(may_be_nf4.size(), 6u);
  EXPECT_EQ(may_be_nf4.front(), "experts.0.gate_proj");
}

// With the settings of the 20b model's config, but for sizes.
Json GptOss(const Json& more = Json::object()) {
  Json config = Config("gpt_oss", {{"head_dim", 24},
                                   {"num_local_experts", 6},
                                   {"num_experts_per_tok", 3},
                                   {"experts_per_token", 3},
                                   {"sliding_window", 128},
                                   {"initial_context_length", 4096},
                                   {"rope_theta", 150000},
                                   {"swiglu_limit", 5.0},
                                   {"router_aux_loss_coef", 0.9},
                                   {"rope_scaling",
                                    {{"rope_type", "yarn"},
                                     {"factor", 32.0},
                                     {"beta_fast", 32.0},
                                     {"beta_slow", 1.0},
                                     {"original_max_position_embeddings", 4096},
                                     {"truncate", false}}}});
  config.merge_patch(more);
  return config;
}

TEST(GptOss, HasSinksWindowsInEveryOtherLayerAndStackedExperts) {
  const ModelSpec model = Read(GptOss());
  EXPECT_TRUE(model.notes.empty()) << model.notes.front();
  EXPECT_TRUE(HasStackedExperts(model));
  const auto& attention = std::get<AttentionSpec>(model.layers[2][0].body);
  EXPECT_EQ(attention.sinks, "model.layers.2.self_attn.sinks");
  EXPECT_EQ(attention.window, 128);
  EXPECT_EQ(std::get<AttentionSpec>(model.layers[3][0].body).window, 0);
  for (const LinearSpec* linear : {&attention.q, &attention.k, &attention.v, &attention.o}) {
    EXPECT_TRUE(linear->bias) << linear->name;
  }
  const MoeSpec& moe = Moe(model);
  EXPECT_EQ(moe.router.name, "model.layers.0.mlp.router");
  EXPECT_TRUE(moe.router.bias);
  EXPECT_TRUE(moe.renormalize);
  const MlpSpec& expert = moe.experts[4];
  EXPECT_EQ(expert.activation.activation, Activation::kClampedSwish);
  EXPECT_DOUBLE_EQ(expert.activation.limit, 5.0);
  EXPECT_DOUBLE_EQ(expert.activation.alpha, 1.702);
  EXPECT_TRUE(expert.gate.bias && expert.up.bias && expert.down.bias);
  EXPECT_EQ(expert.up.module(), "model.layers.0.mlp.experts.gate_up_proj");
  EXPECT_EQ(expert.up.stack->first, 1);
  EXPECT_EQ(expert.up.stack->step, 2);
  EXPECT_EQ(expert.down.stack->index, 4);
  const RopeSpec& rope = model.ropes.at(0);
  EXPECT_EQ(rope.type, RopeType::kYarn);
  EXPECT_FALSE(rope.truncate);
  EXPECT_NEAR(rope.attention_factor, 0.1 * std::log(32.0) + 1, 1e-15);
  // Without rotary settings the same.
  EXPECT_EQ(Read(GptOss({{"rope_scaling", nullptr}})).ropes, model.ropes);
  EXPECT_EQ(Read(GptOss({{"rope_parameters", Json::object()}, {"rope_scaling", nullptr}})).ropes,
            model.ropes);
}

TEST(GptOss, ListsTheTensorsOfFiles) {
  std::vector<std::string> names;
  const ModelSpec model = Read(GptOss({{"num_hidden_layers", 1}}));
  for (const TensorSpec& tensor : ModelTensors(model)) {
    const bool other = tensor.name.find(".mlp.") == std::string::npos;
    if (other && !tensor.name.ends_with("sinks")) continue;
    names.push_back(absl::StrCat(tensor.name.substr(15), " ", absl::StrJoin(tensor.shape, "x")));
  }
  EXPECT_THAT(
      names, ElementsAre("self_attn.sinks 4", "mlp.router.weight 6x64", "mlp.router.bias 6",
                         "mlp.experts.gate_up_proj 6x64x192", "mlp.experts.gate_up_proj_bias 6x192",
                         "mlp.experts.down_proj 6x96x64", "mlp.experts.down_proj_bias 6x64"));
  for (const TensorSpec& tensor : LinearMatrices(model)) {
    EXPECT_EQ(tensor.name.find("experts"), std::string::npos) << tensor.name;
  }
}

TEST(GptOss, MayBeInMxfp4) {
  const Json mxfp4 = {{"quant_method", "mxfp4"}, {"modules_to_not_convert", {"lm_head"}}};
  const ModelSpec model = Read(GptOss({{"quantization_config", mxfp4}}));
  EXPECT_TRUE(model.mxfp4);
  EXPECT_FALSE(model.quantized);
  EXPECT_THAT(Complaint(GptOss({{"quantization_config", {{"quant_method", "mxfp4"}, {"x", 1}}}})),
              HasSubstr("'x' is 1: it is not a key that is known here"));
  EXPECT_THAT(Complaint(Config("mixtral", {{"quantization_config", mxfp4}})),
              HasSubstr("'mxfp4' is not supported"));
}

TEST(Qwen3Moe, TensorParallelDividesEachExpert) {
  const ModelSpec model = Read(Config("qwen3_moe", {{"moe_intermediate_size", 22}}));
  EXPECT_TRUE(CheckTensorParallel(model, 2).ok());
  EXPECT_THAT(ErrorText(CheckTensorParallel(model, 4)),
              AllOf(HasSubstr("experts' intermediate size 22 / 4 leaves 2"),
                    HasSubstr("Sizes that fit: 1, 2")));
}

}  // namespace
}  // namespace fttrain

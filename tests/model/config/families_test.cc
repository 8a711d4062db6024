// What each family's file makes of its config.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/model/config/tiny_config.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const AttentionSpec& Attention(const ModelSpec& model, size_t layer = 0) {
  return std::get<AttentionSpec>(model.layers.at(layer).at(0).body);
}
const MlpSpec& Mlp(const ModelSpec& model) {
  return std::get<MlpSpec>(model.layers.at(0).at(1).body);
}
// The ends of the names of a layer's norms, in order, "-" where there is none.
std::string Norms(const ModelSpec& model) {
  std::string names;
  for (const BlockSpec& block : model.layers.at(0)) {
    for (const auto* norm : {&block.before, &block.after}) {
      names += (*norm ? LeafName((*norm)->name) : std::string("-")) + " ";
    }
  }
  return names;
}
// Of each layer.
template <typename Of>
std::vector<int64_t> EachLayer(const ModelSpec& model, const Of& of) {
  std::vector<int64_t> values;
  for (size_t i = 0; i < model.layers.size(); ++i) values.push_back(of(Attention(model, i)));
  return values;
}
std::vector<int64_t> Windows(const ModelSpec& model) {
  return EachLayer(model, [](const AttentionSpec& attention) { return attention.window; });
}
std::vector<int64_t> Ropes(const ModelSpec& model) {
  return EachLayer(model, [](const AttentionSpec& attention) { return attention.rope; });
}

TEST(Gemma2, HasFourNormsCapsScalesAndWindowsInEveryOtherLayer) {
  const ModelSpec model =
      Read(Config("gemma2", {{"query_pre_attn_scalar", 100}, {"sliding_window", 8}}));
  EXPECT_EQ(Norms(model),
            "input_layernorm post_attention_layernorm pre_feedforward_layernorm "
            "post_feedforward_layernorm ");
  EXPECT_EQ(model.head.norm.form.offset, 1.0);
  EXPECT_TRUE(model.head.norm.form.rounds_once && model.head.tied);
  EXPECT_EQ(Attention(model).head_dim, 256);
  EXPECT_DOUBLE_EQ(Attention(model).scale, 0.1);
  EXPECT_EQ(Attention(model).soft_cap, 50.0);
  EXPECT_EQ(model.head.soft_cap, 30.0);
  EXPECT_EQ(model.embedding_scale, 8.0);
  EXPECT_TRUE(model.rounds_embedding_scale);
  EXPECT_EQ(Mlp(model).activation, Activation::kGeluTanh);
  EXPECT_THAT(Windows(model), ElementsAre(8, 0, 8, 0));
  EXPECT_EQ(Read(Config("gemma2", {{"attn_logit_softcapping", 7.0}})).layers.size(), 4);
  Json uncapped = Config("gemma2");
  uncapped["attn_logit_softcapping"] = uncapped["final_logit_softcapping"] = nullptr;
  EXPECT_EQ(Attention(Read(uncapped)).soft_cap, 0);
  EXPECT_EQ(Read(uncapped).head.soft_cap, 0);
  EXPECT_THAT(Complaint(Config("gemma2", {{"use_bidirectional_attention", true}})),
              HasSubstr("'use_bidirectional_attention' is true"));
  EXPECT_THAT(Complaint(Config("gemma2", {{"hidden_activation", "gelu"}})),
              HasSubstr("'hidden_activation' 'gelu' is not supported"));
}

TEST(Gemma3, TurnsLayersWithAWindowByAnotherBase) {
  const Json v4 = Config("gemma3_text", {{"rope_theta", 5e5},
                                         {"rope_local_base_freq", 2e4},
                                         {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8}}},
                                         {"sliding_window_pattern", 3},
                                         {"sliding_window", 16}});
  const Json v5 =
      Config("gemma3_text",
             {{"rope_parameters",
               {{"full_attention", {{"rope_type", "linear"}, {"factor", 8}, {"rope_theta", 5e5}}},
                {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 2e4}}}}},
              {"layer_types",
               {"sliding_attention", "sliding_attention", "full_attention", "sliding_attention"}},
              {"sliding_window", 16}});
  for (const Json& config : {v4, v5}) {
    const ModelSpec model = Read(config);
    EXPECT_THAT(Windows(model), ElementsAre(16, 16, 0, 16));
    EXPECT_THAT(Ropes(model), ElementsAre(1, 1, 0, 1));
    EXPECT_EQ(model.ropes.at(0).type, RopeType::kLinear);
    EXPECT_EQ(model.ropes.at(0).theta, 5e5);
    EXPECT_EQ(model.ropes.at(1).type, RopeType::kDefault);
    EXPECT_EQ(model.ropes.at(1).theta, 2e4);
    EXPECT_EQ(Attention(model).q_norm->form.offset, 1.0);
    EXPECT_EQ(Attention(model).soft_cap, 0);
    EXPECT_EQ(model.head.soft_cap, 0);
  }
  EXPECT_THAT(Read(Config("gemma3_text", {{"attn_logit_softcapping", 5.0}})).notes,
              ElementsAre(HasSubstr("'attn_logit_softcapping' is not read")));
  EXPECT_THAT(Complaint(Config("gemma3_text", {{"rope_parameters", {{"rope_theta", 1e4}}}})),
              HasSubstr("'rope_parameters' has 'rope_theta'"));
  EXPECT_THAT(Complaint(Config("gemma3")), HasSubstr("'model_type' 'gemma3' is not supported"));
}

TEST(Olmo2, NormsWhatBlocksMakeAndAllHeadsTogether) {
  const ModelSpec model = Read(Config("olmo2"));
  EXPECT_EQ(Norms(model), "- post_attention_layernorm - post_feedforward_layernorm ");
  const AttentionSpec& attention = Attention(model);
  EXPECT_EQ(attention.q_norm->over, NormOver::kAllHeads);
  EXPECT_EQ(attention.q_norm->size, 64);
  EXPECT_EQ(attention.k_norm->size, 32);
  EXPECT_TRUE(attention.k_norm->may_share);
  EXPECT_EQ(model.head.norm.form.eps, 1e-5);
}

TEST(Granite, HasFourMultipliers) {
  const ModelSpec model = Read(Config("granite", {{"embedding_multiplier", 12},
                                                  {"attention_multiplier", 0.015625},
                                                  {"residual_multiplier", 0.22},
                                                  {"logits_scaling", 8}}));
  EXPECT_TRUE(model.notes.empty());
  EXPECT_EQ(model.embedding_scale, 12.0);
  EXPECT_EQ(Attention(model).scale, 0.015625);
  EXPECT_EQ(model.layers.at(1).at(1).residual_scale, 0.22);
  EXPECT_EQ(model.head.logit_scale, 0.125);
  EXPECT_EQ(Attention(Read(Config("granite"))).scale, 1.0) << "transformers' default";
}

TEST(SmolLm3, HasLayersWithoutRotation) {
  EXPECT_THAT(Ropes(Read(Config("smollm3"))), ElementsAre(0, 0, 0, -1));
  const Json given = Config("smollm3", {{"no_rope_layers", {1, 0, 1, 1}}});
  EXPECT_THAT(Ropes(Read(given)), ElementsAre(0, -1, 0, 0));
  EXPECT_EQ(Read(given).ropes.at(0).theta, 2e6);
  EXPECT_TRUE(Read(given).notes.empty());
  Json windowed = given;
  windowed["use_sliding_window"] = true;
  windowed["sliding_window"] = 8;
  EXPECT_THAT(Windows(Read(windowed)), ElementsAre(0, 8, 0, 0)) << "those without rotation";
  EXPECT_THAT(Complaint(Config("smollm3", {{"no_rope_layers", {1, 0}}})),
              HasSubstr("'no_rope_layers' must list num_hidden_layers = 4 entries"));
  EXPECT_THAT(Complaint(Config("smollm3", {{"no_rope_layers", {1, 0, 2, 1}}})),
              HasSubstr("'no_rope_layers' holds other than 0 and 1"));
}

TEST(Glm4, TurnsAPartOfEachHeadAndFusesGateAndUp) {
  const ModelSpec model = Read(Config("glm4", {{"head_dim", 32}}));
  EXPECT_EQ(Norms(model),
            "input_layernorm post_self_attn_layernorm post_attention_layernorm "
            "post_mlp_layernorm ");
  EXPECT_EQ(model.ropes.at(0).dim, 16);
  EXPECT_TRUE(model.ropes.at(0).interleaved);
  EXPECT_TRUE(Attention(model).q.bias && !Attention(model).o.bias);
  EXPECT_FALSE(Attention(model).q.part);
  EXPECT_EQ(Mlp(model).up.part->offset, 96);
  EXPECT_EQ(Mlp(model).up.module(), "model.layers.0.mlp.gate_up_proj");
  const Json whole = Config("glm4", {{"head_dim", 32}, {"partial_rotary_factor", 1.0}});
  EXPECT_EQ(Read(whole).ropes.at(0).dim, 32);
  const Json inside = Config(
      "glm4", {{"head_dim", 32},
               {"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.25}}}});
  EXPECT_EQ(Read(inside).ropes.at(0).dim, 8);
  EXPECT_THAT(Complaint(Config("glm4", {{"head_dim", 32}, {"partial_rotary_factor", 0.1}})),
              HasSubstr("'partial_rotary_factor' is 0.1: of heads of 32 that turns 3 elements"));
  EXPECT_THAT(Read(Config("glm4", {{"eos_token_id", {1, 2}}})).eos_token_ids, ElementsAre(1, 2));
}

TEST(Cohere2, HasOneLayerNormForBothBlocksAndRotationUnderWindows) {
  const ModelSpec model = Read(Config("cohere2", {{"logit_scale", 0.25}, {"sliding_window", 8}}));
  EXPECT_EQ(Norms(model), "input_layernorm - - - ");
  EXPECT_TRUE(model.layers.at(0).at(1).beside && !model.layers.at(0).at(0).beside);
  EXPECT_TRUE(model.head.norm.form.centered && model.head.tied);
  EXPECT_EQ(model.head.norm.form.eps, 1e-5);
  EXPECT_EQ(model.head.logit_scale, 0.25);
  EXPECT_THAT(Windows(model), ElementsAre(8, 8, 8, 0));
  EXPECT_THAT(Ropes(model), ElementsAre(0, 0, 0, -1));
  EXPECT_TRUE(model.ropes.at(0).interleaved && model.notes.empty());
  EXPECT_THAT(Complaint(Config("cohere2", {{"head_dim", 32}})),
              HasSubstr("'head_dim' is 32: it is hidden_size / num_attention_heads in cohere2"));
}

Json Longrope(const Json& more = Json::object()) {
  Json scaling = {{"type", "longrope"},
                  {"short_factor", {1, 1.5, 2, 2, 2, 2, 2, 3}},
                  {"long_factor", {1, 2, 4, 4, 4, 4, 4, 8}}};
  scaling.merge_patch(more);
  return {{"rope_scaling", scaling}, {"original_max_position_embeddings", 64}};
}

TEST(Phi3, HasFusedMatrices) {
  const ModelSpec model = Read(Config("phi3"));
  const AttentionSpec& attention = Attention(model);
  EXPECT_EQ(attention.q.module(), "model.layers.0.self_attn.qkv_proj");
  EXPECT_EQ(attention.v.module(), attention.q.module());
  EXPECT_EQ(attention.v.part->offset, 96);
  EXPECT_EQ(attention.v.part->rows, 128);
  std::vector<std::string> modules;
  for (const LinearSpec& module : ModulesOf(model.layers.at(0))) {
    modules.push_back(LeafName(module.name) + " " + std::to_string(module.out));
  }
  EXPECT_THAT(modules,
              ElementsAre("qkv_proj 128", "o_proj 64", "gate_up_proj 192", "down_proj 64"));
  size_t fused = 0;
  for (const TensorSpec& tensor : ModelTensors(model)) {
    if (tensor.name == "model.layers.2.self_attn.qkv_proj.weight") {
      EXPECT_THAT(tensor.shape, ElementsAre(128, 64));
      ++fused;
    }
  }
  EXPECT_EQ(fused, 1);
  EXPECT_THAT(Windows(model), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Windows(Read(Config("phi3", {{"sliding_window", 20}}))), ElementsAre(20, 20, 20, 20));
  EXPECT_THAT(Complaint(Config("phi3", {{"resid_pdrop", 0.1}})), HasSubstr("'resid_pdrop' is 0.1"));
}

TEST(Phi3, ReadsLongrope) {
  const RopeSpec rope = Read(Config("phi3", Longrope())).ropes.at(0);
  EXPECT_EQ(rope.type, RopeType::kLongrope);
  EXPECT_EQ(rope.original_max_position_embeddings, 64);
  EXPECT_DOUBLE_EQ(rope.attention_factor, std::sqrt(1 + std::log(8.0) / std::log(64.0)));
  const std::vector<double> plain = RopeInverseFrequencies({.dim = 16});
  const std::vector<double> near = RopeInverseFrequencies(rope);
  const std::vector<double> far = RopeInverseFrequencies(rope, /*long_form=*/true);
  EXPECT_DOUBLE_EQ(near.at(7), plain.at(7) / 3);
  EXPECT_DOUBLE_EQ(far.at(7), plain.at(7) / 8);
  for (const char* old : {"su", "yarn"}) {
    EXPECT_EQ(Read(Config("phi3", Longrope({{"type", old}}))).ropes.at(0), rope);
  }
  EXPECT_THAT(Read(Config("phi3", Longrope())).notes,
              ElementsAre(HasSubstr("more than 64 tokens")));
  Json no_context = Config("phi3", Longrope());
  no_context.erase("original_max_position_embeddings");
  EXPECT_EQ(Read(no_context).ropes.at(0).original_max_position_embeddings, 4096);
  EXPECT_THAT(Complaint(Config("phi3", Longrope({{"short_factor", {1.0}}}))),
              HasSubstr("rope_scaling: 'short_factor' must list 8 positive numbers"));
  EXPECT_THAT(Complaint(Config("phi3", Longrope({{"type", "linear"}}))),
              HasSubstr("'type' 'linear' is not supported (default, longrope are)"));
}

}  // namespace
}  // namespace fttrain

// What configs of DeepSeek's families come to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/config/checks.h"
#include "tests/model/config/tiny_config.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// As the published models have them: keys that are not read are there.
Json V3(const Json& more = Json::object()) {
  Json config = Config("deepseek_v3", {{"num_key_value_heads", 4},
                                       {"q_lora_rank", 24},
                                       {"kv_lora_rank", 20},
                                       {"qk_nope_head_dim", 12},
                                       {"qk_rope_head_dim", 8},
                                       {"v_head_dim", 10},
                                       {"n_routed_experts", 16},
                                       {"moe_intermediate_size", 24},
                                       {"num_experts_per_tok", 3},
                                       {"n_group", 4},
                                       {"topk_group", 2},
                                       {"first_k_dense_replace", 1},
                                       {"scoring_func", "sigmoid"},
                                       {"topk_method", "noaux_tc"},
                                       {"moe_layer_freq", 1},
                                       {"rms_norm_eps", 1e-3}});
  config.merge_patch(more);
  return config;
}
Json V2(const Json& more = Json::object()) {
  Json config = V3({{"model_type", "deepseek_v2"},
                    {"scoring_func", "softmax"},
                    {"topk_method", "greedy"},
                    {"n_group", nullptr},
                    {"topk_group", nullptr}});
  config["q_lora_rank"] = nullptr;  // in the file, and null
  config.merge_patch(more);
  return config;
}

const LatentAttentionSpec& Attention(const ModelSpec& model) {
  return std::get<LatentAttentionSpec>(model.layers.at(0).at(0).body);
}
const MoeSpec& Moe(const ModelSpec& model) {
  return std::get<MoeSpec>(model.layers.at(1).at(1).body);
}

TEST(DeepseekV3, HasLatentsThatEveryRankHasWhole) {
  const ModelSpec model = Read(V3());
  const LatentAttentionSpec& attention = Attention(model);
  EXPECT_EQ(attention.q_a->name, "model.layers.0.self_attn.q_a_proj");
  EXPECT_EQ(attention.q_a->split, LinearSplit::kWhole);
  EXPECT_EQ(attention.q_a->out, 24);
  EXPECT_EQ(attention.q_norm->name, "model.layers.0.self_attn.q_a_layernorm");
  EXPECT_DOUBLE_EQ(attention.q_norm->form.eps, 1e-6) << "whatever rms_norm_eps is";
  EXPECT_DOUBLE_EQ(model.layers[0][0].before->form.eps, 1e-3);
  EXPECT_EQ(attention.q.name, "model.layers.0.self_attn.q_b_proj");
  EXPECT_EQ(attention.q.in, 24);
  EXPECT_EQ(attention.q.out, 4 * 20);
  EXPECT_EQ(attention.q.unit, 20);
  EXPECT_EQ(attention.kv_a.split, LinearSplit::kWhole);
  EXPECT_EQ(attention.kv_a.out, 28);
  EXPECT_EQ(attention.kv_norm.size, 20);
  EXPECT_EQ(attention.kv_b.out, 4 * 22);
  EXPECT_EQ(attention.o.in, 4 * 10);
  EXPECT_DOUBLE_EQ(attention.scale, 1 / std::sqrt(20.0));
  EXPECT_EQ(model.ropes.at(0).dim, 8);
  EXPECT_TRUE(model.ropes[0].interleaved);
  EXPECT_FALSE(Read(V3({{"rope_interleave", false}})).ropes[0].interleaved);
  EXPECT_THAT(ToString(model), HasSubstr("heads 4, latent 20, experts 3/16, "));
  EXPECT_TRUE(CheckTensorParallel(model, 2).ok());
  EXPECT_THAT(ErrorText(CheckTensorParallel(model, 3)),
              HasSubstr("4 attention heads / 3 leaves 1"));
  EXPECT_TRUE(model.notes.empty()) << model.notes.front();
}

TEST(DeepseekV3, ChoosesExpertsOfGroupsByCorrectedSigmoids) {
  const ModelSpec model = Read(V3({{"n_shared_experts", 2}}));
  EXPECT_TRUE(std::holds_alternative<MlpSpec>(model.layers[0].at(1).body));
  EXPECT_EQ(model.layers[0].size(), 2u);
  const MoeSpec& moe = Moe(model);
  EXPECT_TRUE(moe.sigmoid);
  EXPECT_TRUE(moe.renormalize);
  EXPECT_DOUBLE_EQ(moe.scale, 2.5);
  EXPECT_EQ(moe.groups, 4);
  EXPECT_EQ(moe.top_groups, 2);
  EXPECT_EQ(moe.group_best, 2);
  EXPECT_EQ(moe.correction->name, "model.layers.1.mlp.gate.e_score_correction_bias");
  EXPECT_EQ(moe.correction->size, 16);
  // Shared experts are one feed-forward beside the others, which reads what they do.
  const BlockSpec& shared = model.layers[1].at(2);
  EXPECT_TRUE(shared.beside);
  EXPECT_FALSE(shared.before.has_value());
  EXPECT_EQ(std::get<MlpSpec>(shared.body).gate.name,
            "model.layers.1.mlp.shared_experts.gate_proj");
  EXPECT_EQ(std::get<MlpSpec>(shared.body).gate.out, 48);
  int constants = 0;
  for (const TensorSpec& tensor : ModelTensors(model)) {
    if (tensor.constant) ++constants;
    EXPECT_EQ(tensor.constant, tensor.name.ends_with(".e_score_correction_bias")) << tensor.name;
    EXPECT_EQ(tensor.float32, tensor.name.ends_with(".mlp.gate.weight")) << tensor.name;
  }
  EXPECT_EQ(constants, 3);
}

TEST(DeepseekV3, LeavesLayersThatPredictFurtherAhead) {
  const ModelSpec model = Read(V3({{"num_nextn_predict_layers", 1}}));
  EXPECT_THAT(model.unread_prefixes, ElementsAre("model.layers.4."));
  EXPECT_THAT(model.notes, ElementsAre(AllOf(HasSubstr("'num_nextn_predict_layers' is 1"),
                                             HasSubstr("(model.layers.4.*) is left"))));
  EXPECT_EQ(Read(V3()).unread_prefixes.size(), 1u) << "transformers takes one for granted";
  EXPECT_TRUE(Read(V3({{"num_nextn_predict_layers", 0}})).unread_prefixes.empty());
}

TEST(DeepseekV2, HasPlainQueriesAndSoftmaxes) {
  const ModelSpec model = Read(V2());
  EXPECT_FALSE(Attention(model).q_a.has_value());
  EXPECT_EQ(Attention(model).q.name, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(Attention(model).q.in, 64);
  EXPECT_FALSE(Moe(model).sigmoid);
  EXPECT_FALSE(Moe(model).renormalize);
  EXPECT_FALSE(Moe(model).correction.has_value());
  EXPECT_EQ(Moe(model).groups, 1);
  EXPECT_TRUE(model.notes.empty()) << model.notes.front();
  Json absent = V2();
  absent.erase("q_lora_rank");
  EXPECT_EQ(Attention(Read(absent)).q_norm->size, 1536) << "transformers' default";
  const ModelSpec limited =
      Read(V2({{"topk_method", "group_limited_greedy"}, {"n_group", 4}, {"topk_group", 2}}));
  EXPECT_EQ(Moe(limited).groups, 4);
  EXPECT_EQ(Moe(limited).group_best, 1);
  EXPECT_THAT(Read(V2({{"norm_topk_prob", true}})).notes,
              Contains(HasSubstr("'norm_topk_prob' is not read, nor by transformers")));
}

TEST(Deepseek, YarnScalesScoresAsWell) {
  const Json yarn = {{"type", "yarn"},
                     {"factor", 8.0},
                     {"mscale", 1.0},
                     {"mscale_all_dim", 0.5},
                     {"original_max_position_embeddings", 64}};
  const double all_dim = 0.05 * std::log(8.0) + 1, one = 0.1 * std::log(8.0) + 1;
  ModelSpec model = Read(V2({{"rope_scaling", yarn}}));
  EXPECT_DOUBLE_EQ(model.ropes[0].attention_factor, one / all_dim);
  EXPECT_DOUBLE_EQ(Attention(model).scale, all_dim * all_dim / std::sqrt(20.0));
  // Scores look at mscale_all_dim alone.
  Json without = yarn;
  without.erase("mscale");
  model = Read(V3({{"rope_scaling", without}}));
  EXPECT_DOUBLE_EQ(model.ropes[0].attention_factor, one);
  EXPECT_DOUBLE_EQ(Attention(model).scale, all_dim * all_dim / std::sqrt(20.0));
}

TEST(Deepseek, RefusesWhatIsNotComputed) {
  EXPECT_THAT(Complaint(V3({{"num_key_value_heads", 2}})),
              HasSubstr("'num_key_value_heads' is 2, must be num_attention_heads 4"));
  EXPECT_THAT(Complaint(V3({{"qk_rope_head_dim", 7}})), HasSubstr("must be even"));
  EXPECT_THAT(Complaint(V3({{"n_group", 3}})),
              HasSubstr("16 experts are not as many equal groups"));
  EXPECT_THAT(Complaint(V3({{"n_group", 16}})), HasSubstr("groups of 2 or more"));
  EXPECT_THAT(Complaint(V3({{"topk_group", 5}})), HasSubstr("'topk_group' is 5 of 4 groups"));
  EXPECT_THAT(Complaint(V3({{"topk_group", 1}, {"num_experts_per_tok", 5}})),
              HasSubstr("groups of 4 have fewer than the 5 experts"));
  EXPECT_THAT(Complaint(V2({{"topk_method", "noaux_tc"}})),
              HasSubstr("'noaux_tc' is not supported"));
  EXPECT_THAT(Complaint(V2({{"num_experts_per_tok", nullptr}})),
              HasSubstr("'num_experts_per_tok' is missing"));
  EXPECT_THAT(
      Complaint(V3({{"quantization_config", {{"quant_method", "fp8"}}}})),
      AllOf(HasSubstr("'fp8' is not supported"), HasSubstr("cast its weights to bfloat16")));
  EXPECT_THAT(Complaint(V3({{"num_local_experts", 8}})),
              HasSubstr("'num_local_experts' is 8, n_routed_experts 16"));
  EXPECT_EQ(Complaint(V2({{"topk_method", "gready"}})), "") << "as DeepSeek's own code has it";
}

}  // namespace
}  // namespace fttrain

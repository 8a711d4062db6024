#include "model/config/families/deepseek_keys.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/config/families/expert_keys.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {
namespace {

void ReadLatent(JsonKeys& keys, LlamaShape& shape) {
  LatentShape& latent = shape.latent;
  const bool plain_queries = keys.Contains("q_lora_rank") && !keys.Find("q_lora_rank");
  latent.q_rank = plain_queries ? 0 : keys.Int("q_lora_rank", 1, 1536);
  latent.kv_rank = keys.Int("kv_lora_rank", 1, 512);
  latent.nope_dim = keys.Int("qk_nope_head_dim", 1, 128);
  latent.rope_dim = keys.Int("qk_rope_head_dim", 2, 64);
  latent.v_dim = keys.Int("v_head_dim", 1, 128);
  if (latent.rope_dim % 2 != 0) {
    keys.Fail("qk_rope_head_dim",
              absl::StrCat("is ", latent.rope_dim, ", must be even (rotary pairs)"));
  }
  if (shape.num_kv_heads != shape.num_heads) {
    keys.Fail("num_key_value_heads",
              absl::StrCat("is ", shape.num_kv_heads, ", must be num_attention_heads ",
                           shape.num_heads, ": each head has keys and values of the latent"));
  }
}

void ReadMixture(JsonKeys& keys, const DeepseekDefaults& defaults, LlamaShape& shape) {
  ExpertShape& moe = shape.moe;
  moe.float32_router = true;
  moe.experts = keys.Int("n_routed_experts", 1, defaults.experts);
  // transformers' other names of it.
  for (const char* name : {"num_experts", "num_local_experts"}) {
    const int64_t named = keys.Int(name, 1, moe.experts);
    if (named == moe.experts) continue;
    if (keys.Find("n_routed_experts")) {
      keys.Fail(name, absl::StrCat("is ", named, ", n_routed_experts ", moe.experts));
    }
    moe.experts = named;
  }
  ReadChosenExperts(keys, "n_routed_experts", defaults.top_k, shape);
  moe.intermediate_size = keys.Int("moe_intermediate_size", 1, defaults.expert_size);
  moe.shared_size =
      keys.Int("n_shared_experts", 1, defaults.shared_experts) * moe.intermediate_size;
  moe.scale = keys.Positive("routed_scaling_factor", defaults.scale);
  const int64_t dense = keys.Int("first_k_dense_replace", 0, defaults.dense_layers);
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) moe.in_layer.push_back(layer >= dense);
  NoteIfOther(keys, "moe_layer_freq", 1, shape);
}

}  // namespace

LlamaShape ReadDeepseek(JsonKeys& keys, const DeepseekDefaults& defaults) {
  // A head_dim in the file is not read, nor by transformers, which sets it to what turns.
  LlamaShape shape = ReadShape(keys, {.head_dim = 64});
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  ReadLatent(keys, shape);
  shape.head_dim = shape.rotary_dim = shape.latent.rope_dim;
  ReadRope(keys, shape, {.scales_scores = true});
  shape.rope.interleaved = true;
  shape.attention_scale =
      shape.rope.score_factor /
      std::sqrt(static_cast<double>(shape.latent.nope_dim + shape.latent.rope_dim));
  ReadMixture(keys, defaults, shape);
  return shape;
}

void ReadExpertGroups(JsonKeys& keys, std::optional<int64_t> groups, std::optional<int64_t> top,
                      int64_t best, LlamaShape& shape) {
  ExpertShape& moe = shape.moe;
  moe.groups = keys.Int("n_group", 1, groups);
  moe.top_groups = keys.Int("topk_group", 1, top);
  moe.group_best = best;
  if (moe.experts % moe.groups != 0 || moe.experts / moe.groups < best) {
    keys.Fail("n_group",
              absl::StrCat("is ", moe.groups, ": ", moe.experts,
                           " experts are not as many equal groups of ", best, " or more"));
    return;
  }
  if (moe.top_groups > moe.groups) {
    keys.Fail("topk_group", absl::StrCat("is ", moe.top_groups, " of ", moe.groups, " groups"));
  }
  if (moe.top_k > moe.experts / moe.groups * moe.top_groups) {
    keys.Fail("topk_group",
              absl::StrCat("is ", moe.top_groups, ": groups of ", moe.experts / moe.groups,
                           " have fewer than the ", moe.top_k, " experts of a token"));
  }
}

void NoteIfOther(JsonKeys& keys, const char* key, const nlohmann::json& computed,
                 LlamaShape& shape) {
  const nlohmann::json* value = keys.Find(key);
  if (value == nullptr || *value == computed) return;
  shape.notes.push_back(absl::StrCat(keys.where(), ": '", key, "' is not read, nor by ",
                                     "transformers: computed is ", computed.dump()));
}

}  // namespace fttrain

#include "model/config/families/llama_shape.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

NormForm FormOf(const LlamaShape& shape) {
  NormForm form = shape.norm;
  form.eps = shape.rms_norm_eps;
  return form;
}

// Builds one layer's linears and norms.
struct LayerNames {
  const LlamaShape& shape;
  std::string prefix;  // model.layers.<i>.

  NormSpec Norm(const char* name, int64_t size, NormOver over = NormOver::kStream) const {
    return {prefix + name, size, FormOf(shape), over};
  }
  std::optional<NormSpec> StreamNorm(const char* name) const {
    if (*name == 0) return std::nullopt;
    return Norm(name, shape.hidden_size);
  }
  LinearSpec Column(const char* name, int64_t out, int64_t unit, bool bias) const {
    return {.name = prefix + name, .in = shape.hidden_size, .out = out, .unit = unit, .bias = bias};
  }
  LinearSpec Row(const char* name, int64_t in, int64_t unit, bool bias) const {
    return {.name = prefix + name,
            .in = in,
            .out = shape.hidden_size,
            .split = LinearSplit::kRow,
            .unit = unit,
            .bias = bias};
  }
  // Makes the linears parts of one module, their rows one after another.
  void Fuse(const char* name, const std::vector<LinearSpec*>& parts) const {
    int64_t rows = 0;
    for (const LinearSpec* part : parts) rows += part->out;
    int64_t offset = 0;
    for (LinearSpec* part : parts) {
      part->part = {prefix + name, rows, offset};
      part->name = absl::StrCat(prefix, name, "[", offset, ":", offset + part->out, "]");
      offset += part->out;
    }
  }
};

void AddQueryKeyNorms(const LayerNames& names, AttentionSpec& attention) {
  const int64_t d = names.shape.head_dim;
  if (!names.shape.qk_norm_over_all_heads) {
    attention.q_norm = names.Norm("self_attn.q_norm", d, NormOver::kHead);
    attention.k_norm = names.Norm("self_attn.k_norm", d, NormOver::kHead);
    return;
  }
  const auto over_all = [&](const char* name, const LinearSpec& of) {
    NormSpec norm = names.Norm(name, of.out, NormOver::kAllHeads);
    norm.unit = of.unit;
    norm.may_share = of.may_share;
    return norm;
  };
  attention.q_norm = over_all("self_attn.q_norm", attention.q);
  attention.k_norm = over_all("self_attn.k_norm", attention.k);
}

AttentionSpec AttentionOf(const LayerNames& names, int64_t window, int rope) {
  const LlamaShape& shape = names.shape;
  const int64_t d = shape.head_dim;
  const int64_t queries = shape.num_heads * d, keys = shape.num_kv_heads * d;
  AttentionSpec attention;
  attention.q = names.Column("self_attn.q_proj", queries, d, shape.qkv_bias);
  attention.k = names.Column("self_attn.k_proj", keys, d, shape.qkv_bias);
  attention.v = names.Column("self_attn.v_proj", keys, d, shape.qkv_bias);
  attention.k.may_share = attention.v.may_share = true;
  if (shape.fused_qkv) {
    names.Fuse("self_attn.qkv_proj", {&attention.q, &attention.k, &attention.v});
  }
  attention.o = names.Row("self_attn.o_proj", queries, d, shape.o_bias);
  attention.heads = shape.num_heads;
  attention.kv_heads = shape.num_kv_heads;
  attention.head_dim = d;
  if (shape.qk_norm) AddQueryKeyNorms(names, attention);
  attention.scale =
      shape.attention_scale > 0 ? shape.attention_scale : 1.0 / std::sqrt(static_cast<double>(d));
  attention.soft_cap = shape.attention_soft_cap;
  if (shape.attention_sinks) attention.sinks = names.prefix + "self_attn.sinks";
  attention.window = window;
  attention.rope = rope;
  return attention;
}

LatentAttentionSpec LatentAttentionOf(const LayerNames& names, int rope) {
  const LlamaShape& shape = names.shape;
  const LatentShape& latent = shape.latent;
  const auto whole = [&](const char* name, int64_t out) {
    LinearSpec linear = names.Column(name, out, 1, shape.qkv_bias);
    linear.split = LinearSplit::kWhole;
    return linear;
  };
  const auto of_latent = [&](const char* name, int64_t rank, int64_t head_dim) {
    LinearSpec linear = names.Column(name, shape.num_heads * head_dim, head_dim, false);
    linear.in = rank;
    return linear;
  };
  const auto norm = [&](const char* name, int64_t rank) {
    NormSpec spec = names.Norm(name, rank, NormOver::kLatent);
    spec.form.eps = latent.eps;
    return spec;
  };
  LatentAttentionSpec attention;
  attention.heads = shape.num_heads;
  attention.nope_dim = latent.nope_dim;
  attention.rope_dim = latent.rope_dim;
  attention.v_dim = latent.v_dim;
  if (latent.q_rank > 0) {
    attention.q_a = whole("self_attn.q_a_proj", latent.q_rank);
    attention.q_norm = norm("self_attn.q_a_layernorm", latent.q_rank);
    attention.q = of_latent("self_attn.q_b_proj", latent.q_rank, attention.qk_dim());
  } else {
    attention.q = of_latent("self_attn.q_proj", shape.hidden_size, attention.qk_dim());
  }
  attention.kv_a = whole("self_attn.kv_a_proj_with_mqa", latent.kv_rank + latent.rope_dim);
  attention.kv_norm = norm("self_attn.kv_a_layernorm", latent.kv_rank);
  attention.kv_b = of_latent("self_attn.kv_b_proj", latent.kv_rank, latent.nope_dim + latent.v_dim);
  attention.o =
      names.Row("self_attn.o_proj", shape.num_heads * latent.v_dim, latent.v_dim, shape.o_bias);
  attention.scale = shape.attention_scale;
  attention.rope = rope;
  return attention;
}

decltype(BlockSpec::body) AttentionBodyOf(const LayerNames& names, int64_t window, int rope) {
  if (names.shape.latent.kv_rank > 0) return LatentAttentionOf(names, rope);
  return AttentionOf(names, window, rope);
}

MlpSpec MlpOf(const LayerNames& names, const std::string& block, int64_t ffn) {
  const LlamaShape& shape = names.shape;
  MlpSpec mlp = {.gate = names.Column((block + ".gate_proj").c_str(), ffn, 1, shape.mlp_bias),
                 .up = names.Column((block + ".up_proj").c_str(), ffn, 1, shape.mlp_bias),
                 .down = names.Row((block + ".down_proj").c_str(), ffn, 1, shape.mlp_bias),
                 .activation = shape.activation};
  if (shape.fused_gate_up) names.Fuse("mlp.gate_up_proj", {&mlp.gate, &mlp.up});
  return mlp;
}

MoeSpec MoeOf(const LayerNames& names) {
  const ExpertShape& shape = names.shape.moe;
  const std::string block = absl::StrCat(shape.block, ".");
  MoeSpec moe;
  moe.router = names.Column((block + shape.router).c_str(), shape.experts, 1, shape.bias);
  moe.router.split = LinearSplit::kWhole;
  moe.router.role = LinearRole::kRouter;
  moe.router.float32 = shape.float32_router;
  moe.top_k = shape.top_k;
  moe.renormalize = shape.renormalize;
  moe.sigmoid = shape.sigmoid;
  moe.scale = shape.scale;
  if (shape.corrected) {
    moe.correction = {moe.router.name + ".e_score_correction_bias", shape.experts};
  }
  moe.groups = shape.groups;
  moe.top_groups = shape.top_groups;
  moe.group_best = shape.group_best;
  const double share = static_cast<double>(shape.top_k) / static_cast<double>(shape.experts);
  const auto of_expert = [&](LinearSpec linear) {
    linear.role = LinearRole::kExpert;
    linear.token_share = share;
    return linear;
  };
  const int64_t ffn = shape.intermediate_size;
  for (int64_t e = 0; e < shape.experts; ++e) {
    const auto name = [&](const char* leaf) {
      return absl::StrCat(block, "experts.", e, ".", leaf);
    };
    moe.experts.push_back({of_expert(names.Column(name(shape.gate).c_str(), ffn, 1, shape.bias)),
                           of_expert(names.Column(name(shape.up).c_str(), ffn, 1, shape.bias)),
                           of_expert(names.Row(name(shape.down).c_str(), ffn, 1, shape.bias)),
                           names.shape.activation});
    // transformers' names, whatever the block is called in files.
    const auto stack = [&](const char* leaf, int64_t first, int64_t step, int64_t columns) {
      return LinearSpec::Stack{.tensor = absl::StrCat(names.prefix, "mlp.experts.", leaf),
                               .index = e,
                               .count = shape.experts,
                               .first = first,
                               .step = step,
                               .columns = columns,
                               .in_files = shape.stacked};
    };
    MlpSpec& expert = moe.experts.back();
    expert.gate.stack = stack("gate_up_proj", 0, shape.stacked ? 2 : 1, 2 * ffn);
    expert.up.stack =
        stack("gate_up_proj", shape.stacked ? 1 : ffn, shape.stacked ? 2 : 1, 2 * ffn);
    expert.down.stack = stack("down_proj", 0, 1, names.shape.hidden_size);
  }
  return moe;
}

bool HasExperts(const ExpertShape& shape, size_t layer) {
  return shape.experts > 0 && (layer >= shape.in_layer.size() || shape.in_layer[layer]);
}

LayerSpec LayerOf(const LlamaShape& shape, int64_t i) {
  const LayerNames names{shape, absl::StrCat("model.layers.", i, ".")};
  const size_t index = static_cast<size_t>(i);
  const int64_t window = index < shape.layer_windows.size() ? shape.layer_windows[index] : 0;
  int rope = window > 0 && shape.window_rope ? 1 : 0;
  if (index < shape.layer_has_rope.size() && !shape.layer_has_rope[index]) rope = -1;
  BlockSpec attention = {.before = names.StreamNorm(shape.norm_names.before_attention),
                         .body = AttentionBodyOf(names, window, rope),
                         .after = names.StreamNorm(shape.norm_names.after_attention),
                         .residual_scale = shape.residual_scale};
  BlockSpec mlp = {.before = names.StreamNorm(shape.norm_names.before_mlp),
                   .body = MlpOf(names, "mlp", shape.intermediate_size),
                   .after = names.StreamNorm(shape.norm_names.after_mlp),
                   .beside = shape.parallel_blocks,
                   .residual_scale = shape.residual_scale};
  if (!HasExperts(shape.moe, index)) return {std::move(attention), std::move(mlp)};
  mlp.body = MoeOf(names);
  if (shape.moe.shared_size == 0) return {std::move(attention), std::move(mlp)};
  const std::string block = absl::StrCat(shape.moe.block, ".shared_experts");
  BlockSpec shared = {.before = std::nullopt,
                      .body = MlpOf(names, block, shape.moe.shared_size),
                      .beside = true,
                      .residual_scale = shape.residual_scale};
  return {std::move(attention), std::move(mlp), std::move(shared)};
}

}  // namespace

ModelSpec LlamaLike(const LlamaShape& shape) {
  ModelSpec model;
  model.hidden_size = shape.hidden_size;
  model.vocab_size = shape.vocab_size;
  model.max_position_embeddings = shape.max_position_embeddings;
  model.ropes = {shape.rope};
  if (shape.window_rope) model.ropes.push_back(*shape.window_rope);
  for (RopeSpec& rope : model.ropes) {
    rope.dim = shape.rotary_dim > 0 ? shape.rotary_dim : shape.head_dim;
  }
  model.notes = shape.notes;
  model.embedding = "model.embed_tokens";
  model.embedding_scale = shape.embedding_scale;
  model.rounds_embedding_scale = shape.rounds_embedding_scale;
  for (int64_t i = 0; i < shape.num_layers; ++i) model.layers.Change().push_back(LayerOf(shape, i));
  if (HasExperts(model)) model.router_loss = shape.moe.router_loss;
  const bool tied = shape.tie_word_embeddings;
  model.head = {.norm = {"model.norm", shape.hidden_size, FormOf(shape)},
                .name = tied ? model.embedding : "lm_head",
                .tied = tied,
                .logit_scale = shape.logit_scale,
                .soft_cap = shape.logit_soft_cap};
  return model;
}

}  // namespace fttrain

#include "tests/model/oracle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "model/linears/expert_factors.h"
#include "model/matmul/tensor_rows.h"
#include "runtime/math/philox.h"
#include "tests/model/nf4_matrices.h"

namespace fttrain {
namespace {

// Statistics, softmax and loss of a plain bfloat16 model are float32.
at::Tensor Wide(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight, const LlamaShape& config) {
  at::Tensor wide = Wide(x);
  if (config.norm.centered) wide = wide - wide.mean(-1, /*keepdim=*/true);
  const at::Tensor normed =
      wide * (wide.square().mean(-1, /*keepdim=*/true) + config.rms_norm_eps).rsqrt();
  if (config.norm.rounds_once) {
    return (normed * (Wide(weight) + config.norm.offset)).to(x.scalar_type());
  }
  return normed.to(x.scalar_type()) * (weight + config.norm.offset);
}

at::Tensor Capped(const at::Tensor& x, double cap) { return cap > 0 ? at::tanh(x / cap) * cap : x; }

// Rows that are parameters of their own, "NAME[begin:end/rows]", by where they begin.
std::map<int64_t, std::string> PartsOf(const NamedTensors& params, const std::string& name) {
  std::map<int64_t, std::string> parts;
  for (auto each = params.lower_bound(name + "["); each != params.end(); ++each) {
    if (!each->first.starts_with(name + "[")) break;
    parts[std::stoll(each->first.substr(name.size() + 1))] = each->first;
  }
  return parts;
}

at::Tensor Find(const NamedTensors& params, const std::string& name) {
  if (const auto found = params.find(name); found != params.end()) return found->second;
  std::vector<at::Tensor> parts;
  for (const auto& [begin, part] : PartsOf(params, name)) parts.push_back(params.at(part));
  return parts.empty() ? at::Tensor() : at::cat(parts);
}

at::Tensor Param(const OracleModel& model, const std::string& name) {
  const at::Tensor found = Find(model.params, name);
  TORCH_CHECK(found.defined(), "the block declared no parameter ", name);
  return found;
}

bool Has(const OracleModel& model, const std::string& name) {
  return Find(model.params, name).defined();
}

// x [T, heads, D], whose first elements turn.
at::Tensor Rope(const at::Tensor& x, const at::Tensor& positions, const LlamaShape& config,
                const RopeSpec& rope) {
  TORCH_CHECK(rope.type == RopeType::kDefault, "not of this oracle");
  const int64_t turned = config.rotary_dim > 0 ? config.rotary_dim : x.size(2);
  const double log_theta = std::log(rope.theta) / static_cast<double>(turned);
  const at::Tensor inverse = at::arange(0, turned, 2, at::kDouble).mul(-log_theta).exp();
  const at::Tensor angles = at::outer(positions.to(at::kDouble), inverse).unsqueeze(1);
  const at::Tensor part = x.narrow(2, 0, turned), rest = x.narrow(2, turned, x.size(2) - turned);
  const at::Tensor cos = angles.cos().mul(rope.attention_factor).to(x.scalar_type());
  const at::Tensor sin = angles.sin().mul(rope.attention_factor).to(x.scalar_type());
  // Pairs as [T, heads, pairs].
  at::Tensor first, second;
  if (rope.interleaved) {
    const at::Tensor pairs = part.unflatten(2, {turned / 2, 2});
    first = pairs.select(3, 0), second = pairs.select(3, 1);
  } else {
    first = part.narrow(2, 0, turned / 2), second = part.narrow(2, turned / 2, turned / 2);
  }
  const at::Tensor a = first * cos - second * sin, b = second * cos + first * sin;
  const at::Tensor rotated =
      rope.interleaved ? at::stack({a, b}, 3).flatten(2) : at::cat({a, b}, 2);
  return at::cat({rotated, rest}, 2);
}

// bool [T, T]: whether row may attend column.
at::Tensor AllowedPairs(const SequenceLayout& layout, int64_t window) {
  const int64_t tokens = layout.tokens();
  at::Tensor document = at::empty({tokens}, at::kLong);
  for (int64_t i = 0; i < layout.documents(); ++i) {
    const int64_t begin = layout.cu_seqlens[i], end = layout.cu_seqlens[i + 1];
    document.narrow(0, begin, end - begin).fill_(i);
  }
  const at::Tensor index = at::arange(tokens, at::kLong);
  const at::Tensor distance = index.unsqueeze(1) - index.unsqueeze(0);
  at::Tensor allowed = document.unsqueeze(1).eq(document.unsqueeze(0)).logical_and(distance.ge(0));
  if (window > 0) allowed = allowed.logical_and(distance.lt(window));
  return allowed;
}

at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const SequenceLayout& layout, int64_t window, const LlamaShape& config,
                     const at::Tensor& sinks) {
  const double scale =
      config.attention_scale > 0 ? config.attention_scale : 1 / std::sqrt(double(q.size(2)));
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  at::Tensor scores =
      Capped(at::einsum("tnd,snd->nts", {q, keys}) * scale, config.attention_soft_cap);
  scores = scores.masked_fill(AllowedPairs(layout, window).logical_not(),
                              -std::numeric_limits<double>::infinity());
  const int64_t tokens = q.size(0);
  if (sinks.defined()) {
    scores = at::cat({scores, sinks.view({-1, 1, 1}).expand({-1, tokens, 1})}, -1);
  }
  const at::Tensor shares = Wide(scores).softmax(-1).narrow(-1, 0, tokens);
  return at::einsum("nts,snd->tnd", {shares.to(q.scalar_type()), values});
}

}  // namespace

at::Tensor SeededTensor(std::vector<int64_t> shape, const std::string& name, double scale) {
  at::Tensor tensor = at::empty(shape, at::kDouble);
  double* out = tensor.data_ptr<double>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const PhiloxBlock block = Philox4x32(1234, static_cast<uint64_t>(i), StreamOfName(name));
    out[i] = (2.0 * UniformFromBits(block.x[0]) - 1.0) * std::sqrt(3.0) * scale;
  }
  return tensor.set_requires_grad(true);
}

NamedTensors SeededTensors(const ParameterSet& set) {
  NamedTensors tensors;
  for (const auto& parameter : set.all()) {
    const ParamSlice& slice = parameter->slice;
    const bool norm = slice.name.ends_with("norm.weight");
    // Corrections of routers leave every expert some tokens.
    const double vector = slice.name.ends_with("correction_bias") ? 0.1 : 0.3;
    const double scale =
        slice.global_shape.size() == 2 ? 1.0 / std::sqrt(double(slice.global_shape[1])) : vector;
    at::Tensor tensor = SeededTensor(slice.global_shape, slice.name, scale).detach();
    if (norm) tensor = tensor + 1.0;
    tensors[slice.name] = tensor.set_requires_grad(true);
  }
  return tensors;
}

// Of keys that are ends of names.
double OracleAlpha(const AdapterForm& lora, const std::string& module) {
  for (const auto& [end, alpha] : lora.alpha_pattern) {
    if (module.ends_with(end)) return alpha;
  }
  return lora.alpha;
}

at::Tensor OracleLinear(const OracleModel& model, const std::string& name, const at::Tensor& x,
                        const DropoutContext& dropout) {
  at::Tensor y = x.matmul(Param(model, name + ".weight").t());
  if (Has(model, name + ".bias")) y = y + Param(model, name + ".bias");
  const std::string adapter = "base_model.model." + name;
  if (!Has(model, adapter + ".lora_A.weight")) return y;
  const AdapterForm& lora = model.options.adapter.value();
  at::Tensor dropped = x;
  if (lora.dropout > 0.0 && dropout.token_index.defined()) {
    const at::Tensor mask =
        Dropout(at::ones_like(x.detach()), dropout.token_index, lora.dropout,
                {dropout.step_key, StreamOfName(name)}, /*feature_offset=*/0, x.size(1));
    dropped = x * mask;
  }
  const double r = static_cast<double>(Param(model, adapter + ".lora_B.weight").size(1));
  const double scale = OracleAlpha(lora, name) / (lora.use_rslora ? std::sqrt(r) : r);
  return y + scale * dropped.matmul(Param(model, adapter + ".lora_A.weight").t())
                         .matmul(Param(model, adapter + ".lora_B.weight").t());
}

namespace {

// The layer's modules and switches.
struct Layer {
  const OracleModel& model;
  int index;
  const MicrobatchContext& context;
  const LlamaShape& config = model.config;
  std::string prefix = "model.layers." + std::to_string(index) + ".";

  at::Tensor Linear(const std::string& module, const at::Tensor& x) const {
    return OracleLinear(model, prefix + module, x, context.dropout);
  }
  // Without a name: x itself.
  at::Tensor Normed(const std::string& module, const at::Tensor& x) const {
    return module.empty() ? x : Norm(x, Param(model, prefix + module + ".weight"), config);
  }
  int64_t window() const {
    const size_t i = static_cast<size_t>(index);
    return i < config.layer_windows.size() ? config.layer_windows[i] : 0;
  }
  at::Tensor Rotated(const at::Tensor& x) const {
    const size_t i = static_cast<size_t>(index);
    if (i < config.layer_has_rope.size() && !config.layer_has_rope[i]) return x;
    const bool other = window() > 0 && config.window_rope;
    return Rope(x, context.layout.positions, config, other ? *config.window_rope : config.rope);
  }
};

at::Tensor LatentBranch(const Layer& layer, const at::Tensor& x);

at::Tensor AttentionBranch(const Layer& layer, const at::Tensor& x) {
  const LlamaShape& config = layer.config;
  if (config.latent.kv_rank > 0) return LatentBranch(layer, x);
  const int64_t d = config.head_dim, queries = config.num_heads * d, keys = config.num_kv_heads * d;
  std::vector<at::Tensor> qkv;
  if (config.fused_qkv) {
    qkv = layer.Linear("self_attn.qkv_proj", x).split_with_sizes({queries, keys, keys}, 1);
  } else {
    for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
      qkv.push_back(layer.Linear(std::string("self_attn.") + name, x));
    }
  }
  const auto heads = [&](const at::Tensor& flat) { return flat.reshape({flat.size(0), -1, d}); };
  at::Tensor q = heads(qkv[0]), k = heads(qkv[1]);
  if (config.qk_norm_over_all_heads) {
    q = heads(layer.Normed("self_attn.q_norm", qkv[0]));
    k = heads(layer.Normed("self_attn.k_norm", qkv[1]));
  } else if (config.qk_norm) {
    q = layer.Normed("self_attn.q_norm", q);
    k = layer.Normed("self_attn.k_norm", k);
  }
  const std::string name = layer.prefix + "self_attn.sinks";
  const at::Tensor sinks = config.attention_sinks ? Param(layer.model, name) : at::Tensor();
  const at::Tensor attended = Attention(layer.Rotated(q), layer.Rotated(k), heads(qkv[2]),
                                        layer.context.layout, layer.window(), config, sinks);
  return layer.Linear("self_attn.o_proj", attended.reshape({x.size(0), queries}));
}

// transformers' DeepseekV3Attention: heads of [nope | rope], of which one rope part of k is for
// all.
at::Tensor LatentBranch(const Layer& layer, const at::Tensor& x) {
  const LlamaShape& config = layer.config;
  const LatentShape& latent = config.latent;
  const auto normed = [&](const std::string& name, const at::Tensor& of) {
    const at::Tensor root = (Wide(of).square().mean(-1, /*keepdim=*/true) + latent.eps).rsqrt();
    return (Wide(of) * root).to(of.scalar_type()) *
           Param(layer.model, layer.prefix + "self_attn." + name + ".weight");
  };
  const auto heads = [&](const at::Tensor& flat) {
    return flat.reshape({x.size(0), config.num_heads, -1});
  };
  const at::Tensor q =
      heads(latent.q_rank == 0
                ? layer.Linear("self_attn.q_proj", x)
                : layer.Linear("self_attn.q_b_proj",
                               normed("q_a_layernorm", layer.Linear("self_attn.q_a_proj", x))));
  const auto both = layer.Linear("self_attn.kv_a_proj_with_mqa", x)
                        .split_with_sizes({latent.kv_rank, latent.rope_dim}, 1);
  const auto kv = heads(layer.Linear("self_attn.kv_b_proj", normed("kv_a_layernorm", both[0])))
                      .split_with_sizes({latent.nope_dim, latent.v_dim}, 2);
  const at::Tensor k_rope = layer.Rotated(both[1].unsqueeze(1)).expand({-1, config.num_heads, -1});
  const auto q_parts = q.split_with_sizes({latent.nope_dim, latent.rope_dim}, 2);
  const at::Tensor attended =
      Attention(at::cat({q_parts[0], layer.Rotated(q_parts[1])}, 2), at::cat({kv[0], k_rope}, 2),
                kv[1], layer.context.layout, /*window=*/0, config, /*sinks=*/{});
  return layer.Linear("self_attn.o_proj", attended.reshape({x.size(0), -1}));
}

at::Tensor Glu(const Layer& layer, const at::Tensor& gate, const at::Tensor& up) {
  const GluForm& form = layer.config.activation;
  if (form.activation == Activation::kClampedSwish) {
    const at::Tensor g = gate.clamp_max(form.limit);
    return g * at::sigmoid(g * form.alpha) * (up.clamp(-form.limit, form.limit) + 1);
  }
  const bool silu = form == Activation::kSilu;
  return (silu ? at::silu(gate) : at::gelu(gate, "tanh")) * up;
}

// Which experts each token takes: those of the groups whose best sum highest.
at::Tensor ChosenExperts(const Layer& layer, const at::Tensor& probabilities) {
  const ExpertShape& moe = layer.config.moe;
  at::Tensor scores = probabilities.detach();
  if (moe.corrected) {
    scores =
        scores + Param(layer.model, layer.prefix + moe.block + ".gate.e_score_correction_bias");
  }
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < scores.size(0); ++t) {
    const at::Tensor groups = scores[t].view({moe.groups, -1});
    const at::Tensor best = std::get<0>(groups.sort(1, /*descending=*/true))
                                .narrow(1, 0, moe.group_best)
                                .sum(1)
                                .argsort(0, /*descending=*/true);
    at::Tensor allowed = at::full_like(groups, -std::numeric_limits<double>::infinity());
    for (int64_t g = 0; g < moe.top_groups; ++g) {
      const int64_t group = best[g].item<int64_t>();
      allowed[group].copy_(groups[group]);
    }
    rows.push_back(std::get<1>(at::topk(allowed.view({-1}), moe.top_k)));
  }
  return at::stack(rows);
}

// One of a stack is a parameter by its place there.
at::Tensor OfExpert(const Layer& layer, const LinearSpec& spec, const at::Tensor& x) {
  const LinearNames names(spec);
  at::Tensor y = x.matmul(Param(layer.model, names.weight).t());
  if (spec.bias) y = y + Param(layer.model, names.bias);
  const std::optional<LowRank> adapter = layer.model.options.AdapterOf(spec);
  if (!adapter) return y;
  const FactorNames factors(spec, *layer.model.options.adapter);
  return y +
         adapter->scale *
             x.matmul(Param(layer.model, factors.a).t()).matmul(Param(layer.model, factors.b).t());
}

// Every expert on every token, times a share that is 0 where the token has not chosen it.
at::Tensor MoeBranch(const Layer& layer, const at::Tensor& x) {
  const ExpertShape& moe = layer.config.moe;
  const std::string block = std::string(moe.block) + ".";
  const at::Tensor logits = Wide(layer.Linear(block + moe.router, x));
  const at::Tensor probabilities = moe.sigmoid ? logits.sigmoid() : logits.softmax(-1);
  const at::Tensor chosen = ChosenExperts(layer, probabilities);
  if (layer.model.routes != nullptr) layer.model.routes->push_back({probabilities, chosen});
  at::Tensor shares = probabilities.gather(1, chosen);
  if (moe.renormalize) shares = shares / shares.sum(-1, /*keepdim=*/true);
  shares = shares * moe.scale;
  const at::Tensor all = at::zeros_like(probabilities).scatter(1, chosen, shares);
  const ModelSpec model = LlamaLike(layer.config);
  const auto& spec =
      std::get<MoeSpec>(model.layers.at(static_cast<size_t>(layer.index)).at(1).body);
  at::Tensor y = at::zeros_like(x);
  for (int64_t e = 0; e < moe.experts; ++e) {
    const MlpSpec& expert = spec.experts.at(static_cast<size_t>(e));
    const at::Tensor hidden =
        Glu(layer, OfExpert(layer, expert.gate, x), OfExpert(layer, expert.up, x));
    y = y + all.narrow(1, e, 1) * OfExpert(layer, expert.down, hidden);
  }
  if (moe.shared_size == 0) return y;
  const std::string shared = block + "shared_experts.";
  return y + layer.Linear(shared + "down_proj", Glu(layer, layer.Linear(shared + "gate_proj", x),
                                                    layer.Linear(shared + "up_proj", x)));
}

at::Tensor MlpBranch(const Layer& layer, const at::Tensor& x) {
  const ExpertShape& moe = layer.config.moe;
  const auto index = static_cast<size_t>(layer.index);
  if (moe.experts > 0 && (index >= moe.in_layer.size() || moe.in_layer[index])) {
    return MoeBranch(layer, x);
  }
  at::Tensor gate, up;
  if (layer.config.fused_gate_up) {
    const auto both = layer.Linear("mlp.gate_up_proj", x).chunk(2, 1);
    gate = both[0], up = both[1];
  } else {
    gate = layer.Linear("mlp.gate_proj", x), up = layer.Linear("mlp.up_proj", x);
  }
  return layer.Linear("mlp.down_proj", Glu(layer, gate, up));
}

}  // namespace

at::Tensor OracleDecoderLayer(const OracleModel& model, int index, const at::Tensor& x,
                              const MicrobatchContext& context) {
  const Layer layer{model, index, context};
  const LlamaShape& config = model.config;
  const NormNames& names = config.norm_names;
  const at::Tensor normed = layer.Normed(names.before_attention, x);
  const at::Tensor attention =
      layer.Normed(names.after_attention, AttentionBranch(layer, normed)) * config.residual_scale;
  const at::Tensor between = x + attention;
  const at::Tensor read = config.parallel_blocks ? normed : layer.Normed(names.before_mlp, between);
  return between + layer.Normed(names.after_mlp, MlpBranch(layer, read)) * config.residual_scale;
}

at::Tensor OracleEmbedding(const OracleModel& model, const at::Tensor& input_ids) {
  return Param(model, "model.embed_tokens.weight").index_select(0, input_ids) *
         model.config.embedding_scale;
}

at::Tensor OracleLogits(const OracleModel& model, const at::Tensor& x) {
  const at::Tensor normed = Norm(x, Param(model, "model.norm.weight"), model.config);
  const char* head =
      model.config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return Capped(normed.matmul(Param(model, head).t()) * model.config.logit_scale,
                model.config.logit_soft_cap);
}

at::Tensor OracleScores(const OracleModel& model, const at::Tensor& x,
                        const at::Tensor& target_rows, const at::Tensor& targets) {
  const at::Tensor logits = OracleLogits(model, x).index_select(0, target_rows);
  return Wide(logits).log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1);
}

at::Tensor OracleLayers(const OracleModel& model, const ModelBatch& batch) {
  at::Tensor x = OracleEmbedding(model, batch.input_ids);
  for (int i = 0; i < static_cast<int>(model.config.num_layers); ++i) {
    x = OracleDecoderLayer(model, i, x, batch.context);
  }
  return x;
}

at::Tensor OracleTransformerLoss(const OracleModel& model, const ModelBatch& batch) {
  const at::Tensor x = OracleLayers(model, batch);
  return -OracleScores(model, x, batch.target_rows, batch.targets).sum();
}

at::Tensor OracleRouterLoss(const std::vector<OracleRoutes>& layers) {
  std::vector<at::Tensor> probabilities, experts;
  for (const OracleRoutes& layer : layers) {
    probabilities.push_back(layer.probabilities);
    experts.push_back(layer.experts);
  }
  const at::Tensor all = at::cat(probabilities);
  const at::Tensor chosen = at::one_hot(at::cat(experts), all.size(1)).to(all.scalar_type());
  // Of each place of a token's experts apart, as there.
  return (chosen.mean(0) * all.mean(0).unsqueeze(0)).sum() * all.size(1);
}

void AllocateForTest(ParameterSet& set) {
  for (const auto& parameter : set.all()) {
    parameter->value = AllocateValue(*parameter, at::kCPU);
    if (!parameter->trainable) continue;
    const at::ScalarType dtype = parameter->dtype == at::kDouble ? at::kDouble : at::kFloat;
    parameter->grad = at::zeros(parameter->slice.LocalShape(), dtype);
  }
}

void CopyValues(ParameterSet& set, const NamedTensors& params) {
  for (const auto& parameter : set.all()) {
    if (parameter->packed_bytes > 0) continue;
    const at::Tensor whole = params.at(parameter->slice.name).detach();
    parameter->value.copy_(parameter->slice.PartOf(whole));
  }
}

void QuantizeValues(ParameterSet& set, const Nf4Options& options, NamedTensors& params) {
  const NamedTensors dense = params;
  for (const auto& parameter : set.all()) {
    const ParamSlice& slice = parameter->slice;
    // A rank may own no rows of a head that others hold packed.
    const bool empty_head = slice.name == "lm_head.weight" && slice.LocalNumel() == 0;
    if (parameter->packed_bytes == 0 && !empty_head) continue;
    // Of some rows the whole tensor is quantised.
    const ParamSlice in_file = SliceInFile(slice);
    const at::Tensor whole = Find(dense, in_file.name).detach();
    if (!empty_head) parameter->value.copy_(QuantizedNf4(whole, in_file, options).bytes);
    const ParamSlice all = WholeParam(in_file.name, in_file.global_shape);
    at::Tensor values = DequantizedNf4(QuantizedNf4(whole, all, options), at::kDouble);
    for (const auto& [begin, part] : PartsOf(dense, in_file.name)) {
      if (part != slice.name) continue;
      values = values.narrow(0, begin, slice.global_shape[0]).clone();
    }
    params.at(slice.name) = values.set_requires_grad(true);
  }
}

double RelativeError(const at::Tensor& got, const at::Tensor& want) {
  if (!got.defined() || !want.defined() || got.sizes() != want.sizes()) {
    return std::numeric_limits<double>::infinity();
  }
  if (want.numel() == 0) return 0.0;
  const at::Tensor reference = want.detach().to(at::kDouble);
  const double largest = reference.abs().max().item<double>();
  const double error = (got.to(at::kDouble) - reference).abs().max().item<double>();
  return largest > 0.0 ? error / largest : error;
}

void ExpectGradientsNear(const ParameterSet& set, const NamedTensors& params, double rtol) {
  for (const Parameter* parameter : set.Trainable()) {
    const std::string& name = parameter->slice.name;
    const at::Tensor& whole = params.at(name).grad();
    if (!whole.defined()) {
      ADD_FAILURE() << "the oracle does not use " << name;
      continue;
    }
    EXPECT_GT(whole.abs().max().item<double>(), 0.0) << name;
    EXPECT_LE(RelativeError(parameter->grad, parameter->slice.PartOf(whole)), rtol) << name;
  }
}

}  // namespace fttrain

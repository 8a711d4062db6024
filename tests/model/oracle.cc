#include "tests/model/oracle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "runtime/math/philox.h"
#include "tests/model/nf4_matrices.h"

namespace fttrain {
namespace {

// Statistics, softmax and loss of a plain bfloat16 model are float32.
at::Tensor Wide(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = Wide(x);
  const at::Tensor normed = wide * (wide.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();
  return normed.to(x.scalar_type()) * weight;
}

const at::Tensor& Param(const OracleModel& model, const std::string& name) {
  const auto found = model.params.find(name);
  TORCH_CHECK(found != model.params.end(), "the block declared no parameter ", name);
  return found->second;
}

bool Has(const OracleModel& model, const std::string& name) { return model.params.contains(name); }

// x [T, heads, D], rotate-half.
at::Tensor Rope(const at::Tensor& x, const at::Tensor& positions, const LlamaShape& config) {
  TORCH_CHECK(config.rope.type == RopeType::kDefault, "not of this oracle");
  const double log_theta = std::log(config.rope.theta) / static_cast<double>(x.size(2));
  const at::Tensor inverse = at::arange(0, x.size(2), 2, at::kDouble).mul(-log_theta).exp();
  const at::Tensor angles = at::outer(positions.to(at::kDouble), inverse).unsqueeze(1);
  const at::Tensor both = at::cat({angles, angles}, -1);
  const at::Tensor cos = both.cos().mul(config.rope.attention_factor).to(x.scalar_type());
  const at::Tensor sin = both.sin().mul(config.rope.attention_factor).to(x.scalar_type());
  const int64_t half = x.size(2) / 2;
  const at::Tensor rotated = at::cat({-x.narrow(2, half, half), x.narrow(2, 0, half)}, -1);
  return x * cos + rotated * sin;
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
                     const SequenceLayout& layout, int64_t window) {
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  at::Tensor scores = at::einsum("tnd,snd->nts", {q, keys}) / std::sqrt(double(q.size(2)));
  scores = scores.masked_fill(AllowedPairs(layout, window).logical_not(),
                              -std::numeric_limits<double>::infinity());
  return at::einsum("nts,snd->tnd", {Wide(scores).softmax(-1).to(q.scalar_type()), values});
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
    const double scale =
        slice.global_shape.size() == 2 ? 1.0 / std::sqrt(double(slice.global_shape[1])) : 0.3;
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

at::Tensor OracleDecoderLayer(const OracleModel& model, int index, const at::Tensor& x,
                              const MicrobatchContext& context) {
  const LlamaShape& config = model.config;
  const std::string layer = "model.layers." + std::to_string(index) + ".";
  const double eps = config.rms_norm_eps;
  const size_t given = config.layer_windows.size(), i = static_cast<size_t>(index);
  const int64_t window = i < given ? config.layer_windows[i] : 0;
  const auto linear = [&](const std::string& module, const at::Tensor& input) {
    return OracleLinear(model, layer + module, input, context.dropout);
  };
  const auto norm = [&](const std::string& module, const at::Tensor& input) {
    return RmsNorm(input, Param(model, layer + module + ".weight"), eps);
  };
  const at::Tensor normed = norm("input_layernorm", x);
  at::Tensor q = linear("self_attn.q_proj", normed).view({-1, config.num_heads, config.head_dim});
  at::Tensor k =
      linear("self_attn.k_proj", normed).view({-1, config.num_kv_heads, config.head_dim});
  const at::Tensor v =
      linear("self_attn.v_proj", normed).view({-1, config.num_kv_heads, config.head_dim});
  if (config.qk_norm) {
    q = norm("self_attn.q_norm", q);
    k = norm("self_attn.k_norm", k);
  }
  q = Rope(q, context.layout.positions, config);
  k = Rope(k, context.layout.positions, config);
  const at::Tensor attended = Attention(q, k, v, context.layout, window);
  const at::Tensor residual =
      x +
      linear("self_attn.o_proj", attended.reshape({x.size(0), config.num_heads * config.head_dim}));
  const at::Tensor normed2 = norm("post_attention_layernorm", residual);
  const at::Tensor hidden =
      at::silu(linear("mlp.gate_proj", normed2)) * linear("mlp.up_proj", normed2);
  return residual + linear("mlp.down_proj", hidden);
}

at::Tensor OracleEmbedding(const OracleModel& model, const at::Tensor& input_ids) {
  return Param(model, "model.embed_tokens.weight").index_select(0, input_ids);
}

at::Tensor OracleLogits(const OracleModel& model, const at::Tensor& x) {
  const at::Tensor normed =
      RmsNorm(x, Param(model, "model.norm.weight"), model.config.rms_norm_eps);
  const char* head =
      model.config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return normed.matmul(Param(model, head).t());
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
  for (const auto& parameter : set.all()) {
    const ParamSlice& slice = parameter->slice;
    // A rank may own no rows of a head that others hold packed.
    const bool empty_head = slice.name == "lm_head.weight" && slice.LocalNumel() == 0;
    if (parameter->packed_bytes == 0 && !empty_head) continue;
    at::Tensor& whole = params.at(slice.name);
    if (!empty_head) parameter->value.copy_(QuantizedNf4(whole, slice, options).bytes);
    const ParamSlice all = WholeParam(slice.name, slice.global_shape);
    const at::Tensor values = DequantizedNf4(QuantizedNf4(whole, all, options), at::kDouble);
    whole = values.set_requires_grad(true);
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

// The parameters of a decoder layer and which slices of them a tensor-parallel rank holds.
#include <algorithm>
#include <utility>

#include "model/blocks/decoder_layer.h"

namespace fttrain {
namespace {

// Rows of kv heads on this rank: K / tp of them, or one that tp / K ranks share.
Range KvHeadRange(int64_t kv_heads, int tp_size, int tp_rank) {
  if (kv_heads % tp_size == 0) return EvenRange(kv_heads, tp_size, tp_rank);
  return {tp_rank * kv_heads / tp_size, 1};
}

Range Scaled(const Range& range, int64_t by) { return {range.offset * by, range.extent * by}; }

// Builds the linears of one layer: what differs between them is name, shape, split and bias.
struct LinearFactory {
  const ModelOptions& options;
  const Communicator& tp;
  ParameterSet& set;
  std::string layer;  // model.layers.<i>.
  int64_t hidden;
  Nf4Ahead* ahead;

  bool Adapted(const std::string& module) const {
    const std::string leaf = module.substr(module.rfind('.') + 1);
    for (const std::string& target : options.target_modules) {
      if (target == leaf) return options.use_lora;
    }
    return false;
  }

  std::unique_ptr<LocalLinear> Make(LinearSpec spec, const std::string& module) const {
    spec.name = layer + module;
    spec.tensor_parallel = tp.size() > 1;
    spec.nf4 = Nf4OfModule(options, spec.name);
    spec.ahead = ahead;
    return std::make_unique<LocalLinear>(spec, options.compute, options.train_base,
                                         Adapted(module) ? &options.lora : nullptr, set);
  }
  // `rows` of the output are this rank's.
  std::unique_ptr<LocalLinear> Column(const std::string& module, int64_t out, const Range& rows,
                                      bool bias) const {
    LinearSpec spec;
    spec.in = hidden;
    spec.out = out;
    spec.range = rows;
    spec.shared = rows.extent * tp.size() > out;
    spec.bias = bias;
    return Make(spec, module);
  }
  // `columns` of the input are this rank's.
  std::unique_ptr<LocalLinear> Row(const std::string& module, int64_t in, const Range& columns,
                                   bool bias) const {
    LinearSpec spec;
    spec.split = LinearSplit::kRow;
    spec.in = in;
    spec.out = hidden;
    spec.range = columns;
    spec.bias = bias;
    spec.add_bias = tp.rank() == 0;
    return Make(spec, module);
  }
};

}  // namespace

std::optional<Nf4Options> Nf4OfModule(const ModelOptions& options, const std::string& name) {
  const std::vector<std::string>& dense = options.nf4_dense;
  if (std::find(dense.begin(), dense.end(), name) != dense.end()) return std::nullopt;
  return options.nf4;
}

TpGradient NormGradient(const SequenceRegion& region) {
  if (region.tp().size() == 1) return TpGradient::kOwned;
  return region.sequence_parallel() ? TpGradient::kPartial : TpGradient::kIdentical;
}

Parameter* DeclareNorm(const std::string& name, int64_t size, TpGradient gradient,
                       const ModelOptions& options, ParameterSet& set) {
  Parameter norm;
  norm.slice = WholeParam(name, {size});
  norm.tp_gradient = gradient;
  norm.trainable = options.train_base;
  norm.weight_decay = false;
  norm.dtype = options.compute;
  return set.Declare(std::move(norm));
}

DecoderLayer::DecoderLayer(const ModelConfig& config, int index, const ModelOptions& options,
                           Communicator& tp, ParameterSet& set, Nf4Ahead* ahead)
    : config_(config),
      window_(config.WindowOfLayer(index)),
      recompute_(options.recompute),
      ahead_(ahead),
      region_(tp, options.sequence_parallel) {
  const absl::Status fits = CheckTensorParallel(config, tp.size());
  TORCH_CHECK(fits.ok(), fits.ToString());
  const int64_t d = config.head_dim, f = config.intermediate_size;
  const int64_t q_out = config.num_heads * d, kv_out = config.num_kv_heads * d;
  const Range heads = EvenRange(config.num_heads, tp.size(), tp.rank());
  const Range kv_heads = KvHeadRange(config.num_kv_heads, tp.size(), tp.rank());
  const Range q_rows = Scaled(heads, d), kv_rows = Scaled(kv_heads, d);
  const Range ffn = EvenRange(f, tp.size(), tp.rank());
  local_heads_ = heads.extent;
  local_kv_heads_ = kv_heads.extent;
  const std::string layer = absl::StrCat("model.layers.", index, ".");
  const LinearFactory factory{options, tp, set, layer, config.hidden_size, ahead};
  const auto norm = [&](const char* name, int64_t size, TpGradient gradient) {
    return DeclareNorm(layer + name + ".weight", size, gradient, options, set);
  };
  input_norm_ = norm("input_layernorm", config.hidden_size, NormGradient(region_));
  q_ = factory.Column("self_attn.q_proj", q_out, q_rows, config.qkv_bias);
  k_ = factory.Column("self_attn.k_proj", kv_out, kv_rows, config.qkv_bias);
  v_ = factory.Column("self_attn.v_proj", kv_out, kv_rows, config.qkv_bias);
  o_ = factory.Row("self_attn.o_proj", q_out, q_rows, config.o_bias);
  if (config.qk_norm) {
    // One weight for all heads: each rank sees only its own heads.
    const TpGradient gradient = tp.size() > 1 ? TpGradient::kPartial : TpGradient::kOwned;
    q_norm_ = norm("self_attn.q_norm", d, gradient);
    k_norm_ = norm("self_attn.k_norm", d, gradient);
  }
  post_norm_ = norm("post_attention_layernorm", config.hidden_size, NormGradient(region_));
  gate_ = factory.Column("mlp.gate_proj", f, ffn, config.mlp_bias);
  up_ = factory.Column("mlp.up_proj", f, ffn, config.mlp_bias);
  down_ = factory.Row("mlp.down_proj", f, ffn, config.mlp_bias);
  qkv_.emplace(std::vector<const LocalLinear*>{q_.get(), k_.get(), v_.get()});
  gate_up_.emplace(std::vector<const LocalLinear*>{gate_.get(), up_.get()});
}

int64_t KeptBytes(const ModelConfig& config, const ModelOptions& options, int tp, int64_t tokens) {
  const int64_t width = static_cast<int64_t>(c10::elementSize(options.compute));
  const int64_t statistic = options.compute == at::kDouble ? 8 : 4;
  const int64_t rows = options.sequence_parallel ? tokens / tp : tokens;
  const int64_t row_bytes = rows * config.hidden_size * width;
  if (options.recompute == Recompute::kFull) return row_bytes;
  if (options.recompute == Recompute::kSmart) return 2 * row_bytes;
  const int64_t heads = config.num_heads / tp;
  const int64_t kv_heads = KvHeadRange(config.num_kv_heads, tp, 0).extent;
  const int64_t per_token =
      2 * (heads + kv_heads) * config.head_dim + 2 * config.intermediate_size / tp;
  return 2 * row_bytes + tokens * (per_token * width + heads * statistic);
}

void DecoderLayer::HoldWeights() {
  for (auto* linear : {&q_, &k_, &v_, &o_, &gate_, &up_, &down_}) (*linear)->HoldWeight();
}

void DecoderLayer::ReleaseWeights() {
  for (auto* linear : {&q_, &k_, &v_, &o_, &gate_, &up_, &down_}) (*linear)->ReleaseWeight();
}

}  // namespace fttrain

// The parameters of a decoder layer and which slices of them a tensor-parallel rank holds.
#include <algorithm>
#include <utility>

#include "model/blocks/decoder_layer.h"

namespace fttrain {
namespace {

// This rank's units of the split dimension: an even share, or one that several ranks hold.
Range UnitsOf(const LinearSpec& spec, int tp_size, int tp_rank) {
  if (spec.units() % tp_size == 0) return EvenRange(spec.units(), tp_size, tp_rank);
  TORCH_CHECK(spec.may_share && tp_size % spec.units() == 0, spec.name, ": ", spec.units(),
              " units for ", tp_size, " ranks");
  return {tp_rank * spec.units() / tp_size, 1};
}

// Builds the linears of one layer.
struct LinearFactory {
  const ModelOptions& options;
  const Communicator& tp;
  ParameterSet& set;
  Nf4Ahead* ahead;

  bool Adapted(const std::string& module) const {
    const std::vector<std::string>& targets = options.target_modules;
    return options.use_lora &&
           std::find(targets.begin(), targets.end(), LeafName(module)) != targets.end();
  }

  std::unique_ptr<LocalLinear> Make(const LinearSpec& spec) const {
    const Range units = UnitsOf(spec, tp.size(), tp.rank());
    LinearSlice slice;
    slice.name = spec.name;
    slice.in = spec.in;
    slice.out = spec.out;
    slice.split = spec.split;
    slice.range = {units.offset * spec.unit, units.extent * spec.unit};
    slice.shared = spec.units() < tp.size();
    slice.tensor_parallel = tp.size() > 1;
    slice.bias = spec.bias;
    slice.add_bias = spec.split == LinearSplit::kColumn || tp.rank() == 0;
    slice.nf4 = Nf4OfModule(options, spec.name);
    slice.ahead = ahead;
    return std::make_unique<LocalLinear>(slice, options.compute, options.train_base,
                                         Adapted(spec.name) ? &options.lora : nullptr, set);
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

Parameter* DeclareNorm(const NormSpec& spec, TpGradient gradient, const ModelOptions& options,
                       ParameterSet& set) {
  Parameter norm;
  norm.slice = WholeParam(spec.name + ".weight", {spec.size});
  norm.tp_gradient = gradient;
  norm.trainable = options.train_base;
  norm.weight_decay = false;
  norm.dtype = options.compute;
  return set.Declare(std::move(norm));
}

DecoderLayer::DecoderLayer(const LayerSpec& layer, const ModelOptions& options, Communicator& tp,
                           ParameterSet& set, Nf4Ahead* ahead)
    : spec_(std::get<AttentionSpec>(layer.at(0).body)),
      eps_(layer.at(0).before.eps),
      recompute_(options.recompute),
      ahead_(ahead),
      region_(tp, options.sequence_parallel) {
  const LinearFactory factory{options, tp, set, ahead};
  local_heads_ = UnitsOf(spec_.q, tp.size(), tp.rank()).extent;
  local_kv_heads_ = UnitsOf(spec_.k, tp.size(), tp.rank()).extent;
  input_norm_ = DeclareNorm(layer[0].before, NormGradient(region_), options, set);
  q_ = factory.Make(spec_.q);
  k_ = factory.Make(spec_.k);
  v_ = factory.Make(spec_.v);
  o_ = factory.Make(spec_.o);
  if (spec_.q_norm) {
    // One weight for all heads: each rank sees only its own heads.
    const TpGradient gradient = tp.size() > 1 ? TpGradient::kPartial : TpGradient::kOwned;
    q_norm_ = DeclareNorm(*spec_.q_norm, gradient, options, set);
    k_norm_ = DeclareNorm(*spec_.k_norm, gradient, options, set);
  }
  const MlpSpec& mlp = std::get<MlpSpec>(layer.at(1).body);
  post_norm_ = DeclareNorm(layer[1].before, NormGradient(region_), options, set);
  gate_ = factory.Make(mlp.gate);
  up_ = factory.Make(mlp.up);
  down_ = factory.Make(mlp.down);
  qkv_.emplace(std::vector<const LocalLinear*>{q_.get(), k_.get(), v_.get()});
  gate_up_.emplace(std::vector<const LocalLinear*>{gate_.get(), up_.get()});
}

int64_t KeptBytes(const LayerSpec& layer, const ModelOptions& options, int tp, int64_t tokens) {
  const AttentionSpec& attention = std::get<AttentionSpec>(layer.at(0).body);
  const MlpSpec& mlp = std::get<MlpSpec>(layer.at(1).body);
  const int64_t width = static_cast<int64_t>(c10::elementSize(options.compute));
  const int64_t statistic = options.compute == at::kDouble ? 8 : 4;
  const int64_t rows = options.sequence_parallel ? tokens / tp : tokens;
  const int64_t row_bytes = rows * layer[0].before.size * width;
  if (options.recompute == Recompute::kFull) return row_bytes;
  if (options.recompute == Recompute::kSmart) return 2 * row_bytes;
  const int64_t heads = UnitsOf(attention.q, tp, 0).extent;
  const int64_t kv_heads = UnitsOf(attention.k, tp, 0).extent;
  const int64_t per_token =
      2 * (heads + kv_heads) * attention.head_dim + 2 * UnitsOf(mlp.gate, tp, 0).extent;
  return 2 * row_bytes + tokens * (per_token * width + heads * statistic);
}

void DecoderLayer::HoldWeights() {
  for (auto* linear : {&q_, &k_, &v_, &o_, &gate_, &up_, &down_}) (*linear)->HoldWeight();
}

void DecoderLayer::ReleaseWeights() {
  for (auto* linear : {&q_, &k_, &v_, &o_, &gate_, &up_, &down_}) (*linear)->ReleaseWeight();
}

}  // namespace fttrain

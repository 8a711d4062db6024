#include "model/linears/local_linear.h"

#include <cmath>
#include <utility>

#include "model/linears/linear_group.h"
#include "runtime/math/philox.h"

namespace fttrain {
namespace {

ParamSlice SliceAlong(std::string name, std::vector<int64_t> shape, int dim, const Range& range) {
  if (range.offset == 0 && range.extent == shape[dim]) {
    return WholeParam(std::move(name), std::move(shape));
  }
  return SlicedParam(std::move(name), std::move(shape), dim, range.offset, range.extent);
}

Parameter Weight(const LinearSlice& spec, at::ScalarType compute, bool trainable) {
  Parameter weight;
  weight.slice = SliceAlong(spec.name + ".weight", {spec.out, spec.in},
                            spec.split == LinearSplit::kColumn ? 0 : 1, spec.range);
  weight.tp_gradient = spec.shared ? TpGradient::kShared : TpGradient::kOwned;
  weight.trainable = trainable;
  weight.dtype = compute;
  return weight;
}

constexpr std::string_view kLoraA = ".lora_A.weight";
constexpr std::string_view kLoraB = ".lora_B.weight";

bool EndsWith(const std::string& name, std::string_view suffix) {
  return std::string_view(name).ends_with(suffix);
}

// Rows of the global tensor [r, in] that this rank's slice [r, extent] shows, drawn element by
// element.
void FillKaimingUniform(Parameter& parameter, uint64_t seed) {
  const ParamSlice& slice = parameter.slice;
  const int64_t rows = slice.global_shape[0], in = slice.global_shape[1];
  const int64_t offset = slice.dim == 1 ? slice.offset : 0;
  const int64_t extent = slice.dim == 1 ? slice.extent : in;
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const uint64_t stream = StreamOfName(slice.name);
  at::Tensor host = at::empty({rows, extent}, at::kFloat);
  float* out = host.data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < extent; ++column) {
      const uint64_t index = static_cast<uint64_t>(row * in + offset + column);
      const PhiloxBlock block = Philox4x32(seed, index / 4, stream);
      const double uniform = UniformFromBits(block.x[index % 4]);
      *out++ = static_cast<float>((2.0 * uniform - 1.0) * bound);
    }
  }
  parameter.value.copy_(host);
}

}  // namespace

double LoraOptions::Scale() const {
  return use_rslora ? alpha / std::sqrt(static_cast<double>(r)) : alpha / static_cast<double>(r);
}

LocalLinear::LocalLinear(const LinearSlice& spec, at::ScalarType compute, bool train_base,
                         const LoraOptions* lora, ParameterSet& set)
    : spec_(spec),
      train_base_(train_base),
      weight_(Weight(spec, compute, train_base), spec.nf4, spec.ahead, set) {
  const bool column = spec.split == LinearSplit::kColumn;
  const auto when_split = [&](TpGradient gradient) {
    return spec.tensor_parallel ? gradient : TpGradient::kOwned;
  };
  const TpGradient sliced = spec.shared ? TpGradient::kShared : TpGradient::kOwned;
  if (spec.bias) {
    Parameter bias;
    bias.slice = column ? SliceAlong(spec.name + ".bias", {spec.out}, 0, spec.range)
                        : WholeParam(spec.name + ".bias", {spec.out});
    bias.tp_gradient = column ? sliced : when_split(TpGradient::kIdentical);
    bias.trainable = train_base;
    bias.weight_decay = false;
    bias.dtype = compute;
    bias_ = set.Declare(std::move(bias));
  }
  if (lora == nullptr) return;
  lora_ = *lora;
  const std::string prefix = "base_model.model." + spec.name;
  Parameter a, b;
  a.slice = column ? WholeParam(prefix + std::string(kLoraA), {lora->r, spec.in})
                   : SliceAlong(prefix + std::string(kLoraA), {lora->r, spec.in}, 1, spec.range);
  b.slice = column ? SliceAlong(prefix + std::string(kLoraB), {spec.out, lora->r}, 0, spec.range)
                   : WholeParam(prefix + std::string(kLoraB), {spec.out, lora->r});
  a.tp_gradient = column ? when_split(TpGradient::kPartial) : TpGradient::kOwned;
  b.tp_gradient = column ? sliced : when_split(TpGradient::kPartial);
  a.trainable = b.trainable = true;
  a.category = b.category = MemoryCategory::kAdapters;
  a.dtype = b.dtype = compute == at::kDouble ? at::kDouble : at::kFloat;
  lora_a_ = set.Declare(std::move(a));
  lora_b_ = set.Declare(std::move(b));
}

bool LocalLinear::Drops(const DropoutContext& dropout) const {
  return lora_.dropout > 0.0 && dropout.token_index.defined();
}

at::Tensor LocalLinear::Dropped(const at::Tensor& x, const DropoutContext& dropout) const {
  if (!Drops(dropout)) return x;
  const int64_t offset = spec_.split == LinearSplit::kRow ? spec_.range.offset : 0;
  return Dropout(x, dropout.token_index, lora_.dropout,
                 {dropout.step_key, StreamOfName(spec_.name)}, offset, spec_.in);
}

at::Tensor LocalLinear::Forward(const at::Tensor& x, const DropoutContext& dropout) const {
  return LinearGroup({this}).Forward(x, dropout).front();
}

at::Tensor LocalLinear::BackwardInput(const at::Tensor& dy, const DropoutContext& dropout,
                                      at::Tensor& dx) const {
  return LinearGroup({this}).BackwardInput({dy}, dropout, dx);
}

void LocalLinear::BackwardParams(const at::Tensor& dy, const at::Tensor& dlow, const at::Tensor& x,
                                 const DropoutContext& dropout) const {
  LinearGroup({this}).BackwardParams({dy}, dlow, x, dropout);
}

void InitializeAdapters(const std::vector<Parameter*>& parameters, uint64_t seed) {
  for (Parameter* parameter : parameters) {
    if (EndsWith(parameter->slice.name, kLoraA)) FillKaimingUniform(*parameter, seed);
    if (EndsWith(parameter->slice.name, kLoraB)) parameter->value.zero_();
  }
}

}  // namespace fttrain

#include "model/local_linear.h"

#include <cmath>
#include <utility>

#include "model/matmul.h"
#include "runtime/memory_ledger.h"
#include "runtime/philox.h"

namespace fttrain {
namespace {

ParamSlice SliceAlong(std::string name, std::vector<int64_t> shape, int dim, const Range& range) {
  if (range.offset == 0 && range.extent == shape[dim]) {
    return WholeParam(std::move(name), std::move(shape));
  }
  return SlicedParam(std::move(name), std::move(shape), dim, range.offset, range.extent);
}

// grad += a^T b over the rows of a [T, m] and b [T, n], in the gradient's precision.
void AddTransposedProduct(const at::Tensor& grad, const at::Tensor& a, const at::Tensor& b) {
  AddProducts(grad, {{a.t(), b}}, /*accumulate=*/true);
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

LocalLinear::LocalLinear(const LinearSpec& spec, at::ScalarType compute, bool train_base,
                         const LoraOptions* lora, ParameterSet& set)
    : spec_(spec), train_base_(train_base) {
  const bool column = spec.split == LinearSplit::kColumn;
  const int split_dim = column ? 0 : 1;
  const auto when_split = [&](TpGradient gradient) {
    return spec.tensor_parallel ? gradient : TpGradient::kOwned;
  };
  const TpGradient sliced = spec.shared ? TpGradient::kShared : TpGradient::kOwned;
  Parameter weight;
  weight.slice = SliceAlong(spec.name + ".weight", {spec.out, spec.in}, split_dim, spec.range);
  weight.tp_gradient = sliced;
  weight.trainable = train_base;
  weight.dtype = compute;
  weight_ = set.Declare(std::move(weight));
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
  TORCH_CHECK(x.dim() == 2 && x.size(1) == weight_->value.size(1), spec_.name, ": input ",
              x.sizes(), " for a weight ", weight_->value.sizes());
  at::Tensor y = at::empty({x.size(0), weight_->value.size(0)}, x.options());
  const bool add_bias = bias_ != nullptr && spec_.add_bias;
  if (add_bias) y.copy_(bias_->value.expand_as(y));
  const MatrixProduct base = {x, weight_->value.t()};
  if (lora_a_ == nullptr) {
    AddProducts(y, {base}, add_bias);
    return y;
  }
  const at::Tensor a = lora_a_->value.t(), b = lora_b_->value.t();
  const MemoryScope scope(MemoryCategory::kWorkspace);
  if (Drops(dropout)) {
    const at::Tensor low = LowRankProduct({Dropped(x, dropout), a});
    AddProducts(y, {base, {low, b, lora_.Scale()}}, add_bias);
  } else {
    AddAdaptedProduct(y, {base.a, base.b, a, b, 1.0, lora_.Scale()}, add_bias);
  }
  return y;
}

at::Tensor LocalLinear::BackwardInput(const at::Tensor& dy, const DropoutContext& dropout,
                                      at::Tensor& dx) const {
  const bool accumulate = dx.defined();
  if (!accumulate) dx = at::empty({dy.size(0), weight_->value.size(1)}, dy.options());
  const at::Tensor& weight = weight_->value;
  if (lora_a_ != nullptr && !Drops(dropout)) {
    return AddAdaptedProduct(dx, {dy, weight, lora_b_->value, lora_a_->value, lora_.Scale(), 1.0},
                             accumulate);
  }
  AddProducts(dx, {{dy, weight}}, accumulate);
  const at::Tensor dlow = BackwardLow(dy);
  if (dlow.defined()) {
    at::Tensor dadapter = at::empty_like(dx);
    AddProducts(dadapter, {{dlow, lora_a_->value}}, /*accumulate=*/false);
    dx.add_(Dropped(dadapter, dropout));
  }
  return dlow;
}

at::Tensor LocalLinear::BackwardLow(const at::Tensor& dy) const {
  if (lora_a_ == nullptr) return {};
  return LowRankProduct({dy, lora_b_->value, lora_.Scale()});
}

void LocalLinear::BackwardParams(const at::Tensor& dy, const at::Tensor& dlow, const at::Tensor& x,
                                 const DropoutContext& dropout) const {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  if (train_base_) {
    AddTransposedProduct(weight_->grad, dy, x);
    if (bias_ != nullptr) bias_->grad.add_(at::sum(dy, {0}, false, bias_->grad.scalar_type()));
  }
  if (lora_a_ == nullptr) return;
  const at::Tensor dropped = Dropped(x, dropout);
  AddTransposedProduct(lora_a_->grad, dlow, dropped);
  AddTransposedProduct(lora_b_->grad, dy,
                       LowRankProduct({dropped, lora_a_->value.t(), lora_.Scale()}));
}

void InitializeAdapters(ParameterSet& set, uint64_t seed) {
  for (const auto& parameter : set.all()) {
    if (EndsWith(parameter->slice.name, kLoraA)) FillKaimingUniform(*parameter, seed);
    if (EndsWith(parameter->slice.name, kLoraB)) parameter->value.zero_();
  }
}

}  // namespace fttrain

#include "model/kernels.h"

#include <ATen/ATen.h>

#include <tuple>
#include <vector>

#include "runtime/philox.h"

namespace fttrain {
namespace {

at::ScalarType StatisticsType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

void CheckInput(const char* what, const at::Tensor& x) {
  TORCH_CHECK(x.is_floating_point() && x.is_contiguous(), what,
              ": want a contiguous float tensor, got ", x.scalar_type(), " ", x.sizes(),
              " with strides ", x.strides());
}

void CheckSame(const char* what, const at::Tensor& x, const at::Tensor& other) {
  CheckInput(what, x);
  CheckInput(what, other);
  TORCH_CHECK(x.sizes() == other.sizes() && x.scalar_type() == other.scalar_type(), what, ": ",
              x.scalar_type(), " ", x.sizes(), " and ", other.scalar_type(), " ", other.sizes());
}

void CheckTargets(const at::Tensor& logits, const at::Tensor& targets) {
  CheckInput("cross entropy", logits);
  TORCH_CHECK(logits.dim() == 2 && targets.dim() == 1 && targets.size(0) == logits.size(0) &&
                  targets.scalar_type() == at::kLong,
              "cross entropy: logits ", logits.sizes(), ", targets ", targets.scalar_type(), " ",
              targets.sizes());
}

// x / rms(x), in the statistics' dtype.
std::tuple<at::Tensor, at::Tensor> Normalized(const at::Tensor& x, double eps) {
  const at::Tensor wide = x.to(StatisticsType(x));
  at::Tensor rstd = wide.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  return {wide * rstd, rstd};
}

}  // namespace

at::Tensor RmsNormForward(const at::Tensor& x, const at::Tensor& weight, double eps) {
  CheckInput("RMSNorm", x);
  TORCH_CHECK(
      weight.dim() == 1 && weight.size(0) == x.size(-1) && weight.scalar_type() == x.scalar_type(),
      "RMSNorm: weight ", weight.scalar_type(), " ", weight.sizes(), " for x ", x.scalar_type(),
      " ", x.sizes());
  return std::get<0>(Normalized(x, eps)).to(x.scalar_type()) * weight;
}

at::Tensor AddRmsNormForward(at::Tensor x, const at::Tensor& delta, const at::Tensor& weight,
                             double eps) {
  CheckSame("add + RMSNorm", x, delta);
  x.add_(delta);
  return RmsNormForward(x, weight, eps);
}

at::Tensor RmsNormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                           double eps, const at::Tensor& dresidual, at::Tensor dweight) {
  CheckSame("RMSNorm backward", x, dy);
  const auto [normalized, rstd] = Normalized(x, eps);
  const at::Tensor wide_dy = dy.to(StatisticsType(x));
  if (dweight.defined()) {
    const at::Tensor rounded = normalized.to(x.scalar_type()).to(StatisticsType(x));
    dweight.add_((wide_dy * rounded).reshape({-1, x.size(-1)}).sum(0));
  }
  const at::Tensor g = wide_dy * weight;
  at::Tensor dx = (g - normalized * (g * normalized).mean(-1, /*keepdim=*/true)) * rstd;
  if (dresidual.defined()) dx.add_(dresidual);
  return dx.to(x.scalar_type());
}

void RopeInPlace(at::Tensor x, const at::Tensor& cos, const at::Tensor& sin,
                 const at::Tensor& positions, bool inverse) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor c = cos.index_select(0, positions).unsqueeze(1);
  at::Tensor s = sin.index_select(0, positions).unsqueeze(1);
  if (inverse) s = -s;
  const at::Tensor first = x.narrow(-1, 0, half).to(StatisticsType(x));
  const at::Tensor second = x.narrow(-1, half, half).to(StatisticsType(x));
  const at::Tensor rotated = first * c - second * s;
  x.narrow(-1, half, half).copy_(second * c + first * s);
  x.narrow(-1, 0, half).copy_(rotated);
}

at::Tensor SwiGluForward(const at::Tensor& gate, const at::Tensor& up) {
  CheckSame("SwiGLU", gate, up);
  const at::Tensor g = gate.to(StatisticsType(gate));
  return (g * g.sigmoid() * up).to(gate.scalar_type());
}

at::Tensor SwiGluBackwardInPlace(const at::Tensor& dhidden, at::Tensor gate, at::Tensor up,
                                 bool with_hidden) {
  CheckSame("SwiGLU backward", gate, up);
  CheckSame("SwiGLU backward", gate, dhidden);
  const at::ScalarType wide = StatisticsType(gate);
  const at::Tensor g = gate.to(wide), u = up.to(wide), dh = dhidden.to(wide);
  const at::Tensor sigmoid = g.sigmoid(), silu = g * sigmoid;
  const at::Tensor hidden = (silu * u).to(gate.scalar_type());
  const at::Tensor dgate = dh * u * (sigmoid + silu * (1 - sigmoid));
  up.copy_(dh * silu);
  gate.copy_(dgate);
  return with_hidden ? hidden : at::Tensor();
}

at::Tensor Dropout(const at::Tensor& x, const at::Tensor& token_index, double p, DropoutKey key,
                   int64_t feature_offset, int64_t features) {
  at::Tensor factor = at::empty(x.sizes(), StatisticsType(x));
  const at::Tensor tokens = token_index.cpu();
  factor.fill_(1.0 / (1.0 - p));
  at::Tensor keep = at::empty(x.sizes(), at::kBool);
  bool* out = keep.mutable_data_ptr<bool>();
  const float threshold = static_cast<float>(p);
  for (int64_t t = 0; t < x.size(0); ++t) {
    const int64_t base = tokens.const_data_ptr<int64_t>()[t] * features + feature_offset;
    for (int64_t j = 0; j < x.size(1); ++j) {
      const uint64_t index = static_cast<uint64_t>(base + j);
      const uint32_t bits = Philox4x32(key.key, index / 4, key.stream).x[index % 4];
      *out++ = UniformFromBits(bits) >= threshold;
    }
  }
  return (x * factor.mul_(keep).to(x.device())).to(x.scalar_type());
}

at::Tensor CrossEntropyStats(const at::Tensor& logits, const at::Tensor& targets,
                             int64_t vocab_offset) {
  CheckTargets(logits, targets);
  const at::Tensor wide = logits.to(StatisticsType(logits));
  const at::Tensor max = wide.amax(-1);
  const at::Tensor sum = (wide - max.unsqueeze(-1)).exp().sum(-1);
  const at::Tensor local = targets - vocab_offset;
  const at::Tensor is_local = (local >= 0).logical_and(local < logits.size(1));
  const at::Tensor picked =
      wide.gather(1, local.clamp(0, logits.size(1) - 1).unsqueeze(1)).squeeze(1);
  return at::stack({max, sum, at::where(is_local, picked, at::zeros_like(picked))}, 1);
}

void CrossEntropyBackwardInPlace(at::Tensor logits, const at::Tensor& lse,
                                 const at::Tensor& targets, int64_t vocab_offset, double scale) {
  CheckTargets(logits, targets);
  at::Tensor wide = (logits.to(StatisticsType(logits)) - lse.unsqueeze(1)).exp();
  const at::Tensor local = targets - vocab_offset;
  const at::Tensor is_local = (local >= 0).logical_and(local < logits.size(1));
  wide.scatter_add_(1, local.clamp(0, logits.size(1) - 1).unsqueeze(1),
                    is_local.to(wide.scalar_type()).neg().unsqueeze(1));
  logits.copy_(wide.mul_(scale));
}

void AccumulateInto(at::Tensor accumulator, const at::Tensor& value) {
  TORCH_CHECK(accumulator.sizes() == value.sizes(), "accumulate ", value.sizes(), " into ",
              accumulator.sizes());
  accumulator.add_(value.to(accumulator.scalar_type()));
}

}  // namespace fttrain

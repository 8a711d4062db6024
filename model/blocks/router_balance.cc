#include "model/blocks/router_balance.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace fttrain {

RoutersShape RoutersShape::Of(const ModelSpec& model) {
  RoutersShape shape;
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) {
      const auto* moe = std::get_if<MoeSpec>(&block.body);
      if (moe == nullptr) continue;
      TORCH_CHECK(shape.layers == 0 || shape.experts == moe->num_experts(), moe->router.name, ": ",
                  moe->num_experts(), " experts, a layer before has ", shape.experts);
      shape.experts = moe->num_experts();
      ++shape.layers;
    }
  }
  return shape;
}

RouterBalance::RouterBalance(const RoutersShape& routers, int64_t tokens, double scale)
    : routers_(routers), tokens_(tokens), scale_(scale) {}

double RouterBalance::Factor() const {
  const auto layers = static_cast<double>(routers_.layers);
  // Without a token the sums are 0.
  const auto tokens = static_cast<double>(std::max<int64_t>(1, tokens_));
  return static_cast<double>(routers_.experts) / (layers * layers * tokens);
}

void RouterBalance::Begin(c10::Device device) {
  const MemoryScope saved(MemoryCategory::kSaved);
  sums_ = at::zeros({2, routers_.experts}, at::TensorOptions(at::kDouble).device(device));
}

void RouterBalance::Add(const Routes& routes) {
  if (slopes_.defined() || tokens_ == 0) return;
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const at::Tensor probabilities = routes.probabilities.narrow(0, 0, tokens_);
  at::Tensor chosen = at::zeros(probabilities.sizes(), probabilities.options());
  chosen.scatter_(1, routes.experts.narrow(0, 0, tokens_), 1);
  sums_.select(0, 0).add_(chosen.sum(0, /*keepdim=*/false, at::kDouble));
  sums_.select(0, 1).add_(probabilities.sum(0, /*keepdim=*/false, at::kDouble));
}

at::Tensor RouterBalance::LossOfTokens() const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  return (sums_.select(0, 0) * sums_.select(0, 1)).sum() * Factor();
}

void RouterBalance::BeginBackward() {
  if (slopes_.defined()) return;  // by a run of layers behind, on this rank too
  {
    const MemoryScope saved(MemoryCategory::kSaved);
    slopes_ = sums_.select(0, 0).clone();
  }
  const MemoryScope workspace(MemoryCategory::kWorkspace);  // of the factor as a tensor
  slopes_.mul_(Factor() * scale_);
}

void RouterBalance::AddGradient(const Routes& routes, const at::Tensor& dscores) const {
  const at::Tensor probabilities = routes.probabilities.narrow(0, 0, tokens_);
  const at::Tensor slopes = slopes_.to(probabilities.scalar_type());
  // Through the softmax: p (dp - sum of dp p).
  const at::Tensor mean = (probabilities * slopes).sum(1, /*keepdim=*/true);
  dscores.narrow(0, 0, tokens_).add_(probabilities * (slopes - mean));
}

void RouterBalance::End() {
  sums_.reset();
  slopes_.reset();
}

}  // namespace fttrain

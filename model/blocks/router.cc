#include "model/blocks/router.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "model/kernels/dispatch.h"

namespace fttrain {

at::Tensor Routes::Tokens() const { return at::div(order, experts.size(1), "floor"); }

Router::Router(const MoeSpec& spec, const BlockSetup& setup)
    : experts_(spec.num_experts()),
      top_k_(spec.top_k),
      groups_(spec.groups),
      top_groups_(spec.top_groups),
      group_best_(spec.group_best),
      renormalize_(spec.renormalize),
      sigmoid_(spec.sigmoid),
      scale_(spec.scale),
      compute_(setup.options.compute),
      dtype_(StatisticsType(setup.options.compute)),
      weight_(setup.set.Get(spec.router.name + ".weight")),
      bias_(setup.set.Find(spec.router.name + ".bias")),
      correction_(spec.correction ? setup.set.Get(spec.correction->name) : nullptr) {}

at::Tensor Router::Weight() const { return weight_->value.to(dtype_); }

at::Tensor Router::ForChoice(const at::Tensor& probabilities) const {
  at::Tensor scores = probabilities;
  if (correction_ != nullptr) scores = scores + correction_->value.to(dtype_);
  if (top_groups_ == groups_) return scores;
  const at::Tensor by_group = scores.view({scores.size(0), groups_, experts_ / groups_});
  const at::Tensor of_groups = std::get<0>(at::topk(by_group, group_best_)).sum(-1);
  const at::Tensor best = std::get<1>(at::topk(of_groups, top_groups_));
  const at::Tensor hidden = at::ones_like(of_groups, at::kBool).scatter_(1, best, 0);
  return by_group.masked_fill(hidden.unsqueeze(2), -std::numeric_limits<double>::infinity())
      .view(scores.sizes());
}

Routes Router::Choose(const at::Tensor& x, MemoryCategory category) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const at::Tensor scores = at::empty({x.size(0), experts_}, x.options().dtype(dtype_));
  if (bias_ != nullptr) scores.copy_(bias_->value.expand_as(scores));
  AddProducts(scores, {{x.to(dtype_), Weight().t()}}, /*accumulate=*/bias_ != nullptr);
  const at::Tensor probabilities = sigmoid_ ? at::sigmoid(scores) : at::softmax(scores, -1);
  const at::Tensor experts = std::get<1>(at::topk(ForChoice(probabilities), top_k_));
  const auto [sorted, order] =
      at::sort(experts.view(-1), /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const MemoryScope kept(category);
  return {probabilities.clone(), experts.clone(), order.clone(), Ends(sorted, x.size(0))};
}

std::vector<int64_t> Router::Ends(const at::Tensor& sorted_experts, int64_t tokens) const {
  std::vector<int64_t> ends(static_cast<size_t>(experts_));
  const at::Tensor next = at::arange(1, experts_ + 1, sorted_experts.options());
  if (IsRehearsal()) {
    const at::Tensor found = at::empty_like(next), on_host = found.to(at::kCPU);
    for (int64_t e = 0; e < experts_; ++e) {
      ends[static_cast<size_t>(e)] = tokens * std::min(e + 1, top_k_);
    }
    return ends;
  }
  const at::Tensor on_host = at::searchsorted(sorted_experts, next).to(at::kCPU);
  std::copy_n(on_host.const_data_ptr<int64_t>(), experts_, ends.begin());
  return ends;
}

std::pair<at::Tensor, at::Tensor> Router::Chosen(const Routes& routes) const {
  at::Tensor chosen = routes.probabilities.gather(1, routes.experts);
  at::Tensor sum = chosen.sum(1, /*keepdim=*/true);
  if (sigmoid_) sum.add_(1e-20);  // all of them may be 0
  return {std::move(chosen), std::move(sum)};
}

at::Tensor Router::Shares(const Routes& routes) const {
  const auto [chosen, sum] = Chosen(routes);
  at::Tensor shares = renormalize_ ? chosen / sum : chosen;
  if (scale_ != 1.0) shares = shares * scale_;
  return shares.view(-1).index_select(0, routes.order);
}

at::Tensor Router::BackwardShares(const at::Tensor& dshares, const Routes& routes) const {
  const auto [chosen, sum] = Chosen(routes);
  at::Tensor dchosen = at::empty_like(chosen);
  dchosen.view(-1).index_copy_(0, routes.order, dshares);
  if (scale_ != 1.0) dchosen.mul_(scale_);
  if (renormalize_) {
    const at::Tensor share = chosen / sum;
    dchosen = (dchosen - (dchosen * share).sum(1, /*keepdim=*/true)) / sum;
  }
  if (sigmoid_) {
    const at::Tensor dscores = at::zeros_like(routes.probabilities);
    return dscores.scatter_(1, routes.experts, dchosen * chosen * (1 - chosen));
  }
  // Through the softmax: p (dp - sum of dp p), where dp is 0 but of the chosen.
  const at::Tensor mean = (dchosen * chosen).sum(1, /*keepdim=*/true);
  at::Tensor dscores = routes.probabilities * mean.neg();
  dscores.scatter_(1, routes.experts, chosen * (dchosen - mean));
  return dscores;
}

at::Tensor Router::BackwardInput(const at::Tensor& dscores) const {
  const at::Tensor weight = Weight();
  const at::Tensor dx = at::empty({dscores.size(0), weight.size(1)}, dscores.options());
  AddProducts(dx, {{dscores, weight}}, /*accumulate=*/false);
  return dx.to(compute_);
}

void Router::BackwardParams(const at::Tensor& dscores, const at::Tensor& x) const {
  AddProducts(weight_->grad, {{dscores.t(), x.to(dtype_)}}, /*accumulate=*/true);
  if (bias_ != nullptr) bias_->grad.add_(dscores.sum(0));
}

}  // namespace fttrain

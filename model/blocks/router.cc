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
      microbatch_tokens_(setup.options.microbatch_tokens),
      renormalize_(spec.renormalize),
      sigmoid_(spec.sigmoid),
      scale_(spec.scale),
      compute_(setup.options.compute),
      dtype_(StatisticsType(setup.options.compute)),
      ep_(setup.ep),
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
  Routes routes;
  Count(sorted, x.size(0), routes);
  const MemoryScope kept(category);
  routes.probabilities = probabilities.clone();
  routes.experts = experts.clone();
  routes.order = order.clone();
  return routes;
}

void Router::Count(const at::Tensor& sorted_experts, int64_t tokens, Routes& routes) const {
  const at::Tensor next = at::arange(1, experts_ + 1, sorted_experts.options());
  const at::Tensor ends =
      IsRehearsal() ? at::empty_like(next) : at::searchsorted(sorted_experts, next);
  at::Tensor told = ends;
  if (ep_ != nullptr) {
    const at::Tensor counts = ends.clone(), received = at::empty_like(ends);
    counts.narrow(0, 1, experts_ - 1).sub_(ends.narrow(0, 0, experts_ - 1));
    const std::vector<int64_t> each(static_cast<size_t>(ep_->size()), experts_ / ep_->size());
    ep_->AllToAll(counts, received, each, each);
    told = at::cat({ends, received});
  }
  const at::Tensor on_host = told.to(at::kCPU);
  if (IsRehearsal()) return Imagine(tokens, routes);
  const int64_t* const numbers = on_host.const_data_ptr<int64_t>();
  routes.ends.assign(numbers, numbers + experts_);
  routes.received.assign(numbers + experts_, numbers + on_host.numel());
}

void Router::Imagine(int64_t tokens, Routes& routes) const {
  const int64_t ranks = ep_ == nullptr ? 1 : ep_->size(), own = experts_ / ranks;
  const int64_t first = ep_ == nullptr ? 0 : ep_->rank() * own, mine = std::min(top_k_, own);
  int64_t end = 0, elsewhere = top_k_ - mine;  // experts that are still to have all tokens
  for (int64_t e = 0; e < experts_; ++e) {
    const bool is_own = e >= first && e < first + own;
    if (is_own ? e < first + mine : elsewhere-- > 0) end += tokens;
    routes.ends.push_back(end);
  }
  for (int64_t i = 0; ep_ != nullptr && i < experts_; ++i) {
    const int64_t theirs = i / own == ep_->rank() ? tokens : std::max(tokens, microbatch_tokens_);
    routes.received.push_back(i % own < mine ? theirs : 0);
  }
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

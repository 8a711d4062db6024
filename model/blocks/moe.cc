#include "model/blocks/moe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "model/blocks/router_balance.h"
#include "model/kernels/dispatch.h"

namespace fttrain {

int64_t MostRows(const MoeSpec& spec, int64_t tokens) {
  const int64_t own = std::ssize(spec.experts);
  return spec.num_experts() / own * std::min(spec.top_k, own) * tokens;
}

MoeSaved::MoeSaved(const MoeSpec& spec, TensorRank tp, at::ScalarType compute)
    : experts_(spec.num_experts()),
      top_k_(spec.top_k),
      divided_(std::ssize(spec.experts) < spec.num_experts()),
      most_of_token_(MostRows(spec, 1)),
      width_(SliceOf(spec.experts.front().gate, tp).range.extent),
      compute_(compute) {}

std::vector<SavedTensor> MoeSaved::Inner(int64_t tokens) {
  const int64_t places = tokens * top_k_;
  const int64_t came = !divided_ ? places : rows < 0 ? most_of_token_ * tokens : rows;
  std::vector<SavedTensor> inner = {
      {"gate", &gate, {came, width_}, compute_},
      {"up", &up, {came, width_}, compute_},
      {"probabilities", &routes.probabilities, {tokens, experts_}, StatisticsType(compute_)},
      {"experts", &routes.experts, {tokens, top_k_}, at::kLong},
      {"order", &routes.order, {places}, at::kLong}};
  if (divided_) inner.push_back({"shares", &shares, {came}, compute_});
  return inner;
}

MoeBlock::MoeBlock(const MoeSpec& spec, const BlockSetup& setup)
    : Block(setup),
      activation_(spec.experts.front().activation),
      hidden_size_(spec.router.in),
      compute_(setup.options.compute),
      ep_(setup.ep),
      router_(spec, setup) {
  const auto own = static_cast<int64_t>(spec.experts.size());
  const int ranks = ep_ == nullptr ? 1 : ep_->size();
  TORCH_CHECK(own * ranks == spec.num_experts(), spec.router.name, ": ", own, " of ",
              spec.num_experts(), " experts on each of ", ranks, " ranks");
  for (const MlpSpec& expert : spec.experts) {
    experts_.push_back({setup.Make({expert.gate, expert.up}), setup.Make({expert.down})});
  }
}

bool MoeBlock::NeedsInput() const {
  return router_.trainable() || experts_.front().gate_up.HasTrainable();
}

std::vector<Linears*> MoeBlock::InOrder() {
  std::vector<Linears*> order;
  for (Expert& expert : experts_) order.push_back(&expert.gate_up);
  for (Expert& expert : experts_) order.push_back(&expert.down);
  return order;
}

at::Tensor MoeBlock::SharesOf(const MoeSaved& saved) const {
  return ep_ == nullptr ? router_.Shares(saved.routes).to(compute_) : saved.shares;
}

void MoeBlock::ForwardInner(const at::Tensor& x, const BlockContext& context,
                            MemoryCategory category, BlockSaved& base) const {
  auto& saved = static_cast<MoeSaved&>(base);
  saved.routes = router_.Choose(x, category);
  if (context.batch.balance != nullptr) context.batch.balance->Add(saved.routes);
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const ExpertRows rows(saved.routes, ep_);
  saved.rows = rows.count();
  const std::vector<SavedTensor> inner = saved.Inner(x.size(0));
  const at::Tensor shares =
      ep_ == nullptr ? at::Tensor() : router_.Shares(saved.routes).to(compute_);
  {
    const MemoryScope scope(category);
    saved.gate = at::empty(inner[0].sizes, x.options());
    saved.up = at::empty(inner[1].sizes, x.options());
    if (ep_ != nullptr) saved.shares = rows.SendPlaces(shares);
  }
  const at::Tensor sent = rows.SendTokens(x);
  for (const ExpertRows::Part& part : rows.parts()) {
    experts_[part.expert].gate_up.ForwardInto({part.In(saved.gate), part.In(saved.up)},
                                              rows.TokensOf(part, sent), /*dropout=*/{},
                                              context.batch.adapters);
  }
}

at::Tensor MoeBlock::ForwardOutput(const BlockContext& context, MemoryCategory category,
                                   BlockSaved& base, bool last_use) const {
  auto& saved = static_cast<MoeSaved&>(base);
  const MemoryScope scope(category);
  at::Tensor partial;
  {
    // With sequence parallelism only the reduced rows are kept.
    const MemoryScope kept(region_.sequence_parallel() ? MemoryCategory::kWorkspace : category);
    partial = at::zeros({saved.routes.experts.size(0), hidden_size_}, saved.gate.options());
  }
  {
    const MemoryScope workspace(MemoryCategory::kWorkspace);
    const ExpertRows rows(saved.routes, ep_);
    const at::Tensor shares = SharesOf(saved);
    at::Tensor results = rows.NewResults(partial);
    for (const ExpertRows::Part& part : rows.parts()) {
      at::Tensor hidden = GluForward(part.In(saved.gate), part.In(saved.up), activation_);
      const at::Tensor mine = rows.PlacesOf(part, shares).unsqueeze(1);
      hidden.mul_(mine);
      const Linears& down = experts_[part.expert].down;
      rows.AddTokens(part, down.Forward(hidden, {}, context.batch.adapters, mine).front(), results);
    }
    rows.ReturnTokens(std::move(results), partial);
  }
  if (last_use) saved.FreeInner();
  return region_.Leave(std::move(partial));
}

at::Tensor MoeBlock::BackwardDown(const Expert& expert, const at::Tensor& dy,
                                  const at::Tensor& shares, const at::Tensor& gate,
                                  const at::Tensor& up) const {
  at::Tensor dhidden;
  const at::Tensor dlow = expert.down.BackwardInput({dy}, {}, dhidden);
  at::Tensor hidden = GluForward(gate, up, activation_);
  at::Tensor dshares = (dhidden * hidden).to(StatisticsType(compute_)).sum(1);
  expert.down.AddBiasProducts(dy, dshares);
  if (expert.down.HasTrainable()) {
    expert.down.BackwardParams({dy}, dlow, hidden.mul_(shares), {}, shares);
  }
  hidden.reset();
  GluBackwardInPlace(dhidden.mul_(shares), gate, up, /*with_hidden=*/false, activation_);
  return dshares;
}

at::Tensor MoeBlock::BackwardGateUp(const Expert& expert, const std::vector<at::Tensor>& dgate_up,
                                    const at::Tensor& x, bool need_dx) {
  at::Tensor dx;
  const at::Tensor dlow = need_dx ? expert.gate_up.BackwardInput(dgate_up, {}, dx)
                                  : expert.gate_up.BackwardLow(dgate_up);
  if (expert.gate_up.HasTrainable()) expert.gate_up.BackwardParams(dgate_up, dlow, x, {});
  return dx;
}

at::Tensor MoeBlock::Backward(const at::Tensor& dy, const BlockContext& context,
                              const MakeInput& make_input, BlockSaved& base, bool need_dx) const {
  auto& saved = static_cast<MoeSaved&>(base);
  at::Tensor dx;
  {
    const Routes& routes = saved.routes;
    const at::Tensor dfull = region_.Enter(dy);
    const at::Tensor x = NeedsInput() ? make_input() : at::Tensor();
    const ExpertRows rows(routes, ep_);
    const at::Tensor shares = SharesOf(saved);
    at::Tensor dshares = rows.NewPlaces(routes.probabilities.options());
    if (need_dx) dx = at::zeros(dfull.sizes(), dfull.options());
    at::Tensor results = need_dx ? rows.NewResults(dx) : at::Tensor();
    {
      const bool reads_x = experts_.front().gate_up.HasTrainable();
      const at::Tensor dsent = rows.SendTokens(dfull);
      const at::Tensor xsent = reads_x ? rows.SendTokens(x) : at::Tensor();
      for (const ExpertRows::Part& part : rows.parts()) {
        const Expert& expert = experts_[part.expert];
        const at::Tensor gate = part.In(saved.gate), up = part.In(saved.up);
        rows.AddPlaces(part,
                       BackwardDown(expert, rows.TokensOf(part, dsent),
                                    rows.PlacesOf(part, shares).unsqueeze(1), gate, up),
                       dshares);
        const at::Tensor mine = reads_x ? rows.TokensOf(part, xsent) : at::Tensor();
        const at::Tensor dx_rows = BackwardGateUp(expert, {gate, up}, mine, need_dx);
        if (need_dx) rows.AddTokens(part, dx_rows, results);
      }
    }
    if (need_dx) rows.ReturnTokens(std::move(results), dx);
    const at::Tensor dscores =
        router_.BackwardShares(rows.ReturnPlaces(std::move(dshares)), routes);
    // All tp ranks have the whole of this, and dscores are summed over them: one adds it.
    RouterBalance* const balance = context.batch.balance;
    if (balance != nullptr && region_.tp().rank() == 0) balance->AddGradient(routes, dscores);
    if (router_.trainable()) router_.BackwardParams(dscores, x);
    if (need_dx) dx.add_(router_.BackwardInput(dscores));
  }
  saved.FreeInner();
  return need_dx ? region_.Leave(std::move(dx)) : at::Tensor();
}

}  // namespace fttrain

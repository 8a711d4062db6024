#include "model/blocks/moe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "model/blocks/router_balance.h"
#include "model/kernels/dispatch.h"
#include "model/matmul/grouped_gemm.h"

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

namespace {

// What `sums` gives of each part of a batch, all formed.
void AddSums(const ExpertRows::Batch& batch,
             const std::function<std::vector<ProductSum>(size_t)>& sums) {
  std::vector<std::vector<ProductSum>> groups;
  for (size_t i = 0; i < batch.parts.size(); ++i) groups.push_back(sums(i));
  AddGroupedSums(groups);
}

}  // namespace

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
  for (const ExpertRows::Batch& batch : rows.batches()) {
    const at::Tensor tokens = rows.TokensOf(batch, sent);
    const at::Tensor gate = batch.In(saved.gate), up = batch.In(saved.up);
    AddSums(batch, [&](size_t i) {
      const ExpertRows::Part& part = batch.parts[i];
      return experts_[part.expert].gate_up.ForwardSums({batch.Of(part, gate), batch.Of(part, up)},
                                                       batch.Of(part, tokens), /*dropout=*/{},
                                                       context.batch.adapters);
    });
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
    for (const ExpertRows::Batch& batch : rows.batches()) {
      at::Tensor hidden = GluForward(batch.In(saved.gate), batch.In(saved.up), activation_);
      const at::Tensor mine = rows.PlacesOf(batch, shares).unsqueeze(1);
      hidden.mul_(mine);
      const at::Tensor made = at::empty({batch.count, hidden_size_}, hidden.options());
      AddSums(batch, [&](size_t i) {
        const ExpertRows::Part& part = batch.parts[i];
        return experts_[part.expert].down.ForwardSums({batch.Of(part, made)},
                                                      batch.Of(part, hidden), /*dropout=*/{},
                                                      context.batch.adapters, batch.Of(part, mine));
      });
      rows.AddTokens(batch, made, results);
    }
    rows.ReturnTokens(std::move(results), partial);
  }
  if (last_use) saved.FreeInner();
  return region_.Leave(std::move(partial));
}

at::Tensor MoeBlock::BackwardDown(const ExpertRows::Batch& batch, const at::Tensor& dy,
                                  const at::Tensor& shares, const at::Tensor& gate,
                                  const at::Tensor& up) const {
  const at::Tensor dhidden = at::empty(gate.sizes(), gate.options());
  std::vector<at::Tensor> dlow(batch.parts.size());
  AddSums(batch, [&](size_t i) {
    const ExpertRows::Part& part = batch.parts[i];
    return experts_[part.expert].down.BackwardSums({batch.Of(part, dy)}, /*dropout=*/{},
                                                   batch.Of(part, dhidden), /*accumulate=*/false,
                                                   dlow[i]);
  });
  at::Tensor hidden = GluForward(gate, up, activation_);
  at::Tensor dshares = (dhidden * hidden).to(StatisticsType(compute_)).sum(1);
  const bool trains = experts_.front().down.HasTrainable();
  if (trains) hidden.mul_(shares);
  for (size_t i = 0; i < batch.parts.size(); ++i) {
    const ExpertRows::Part& part = batch.parts[i];
    const Linears& down = experts_[part.expert].down;
    down.AddBiasProducts(batch.Of(part, dy), batch.Of(part, dshares));
    if (!trains) continue;
    down.BackwardParams({batch.Of(part, dy)}, dlow[i], batch.Of(part, hidden), /*dropout=*/{},
                        batch.Of(part, shares));
  }
  hidden.reset();
  GluBackwardInPlace(dhidden.mul_(shares), gate, up, /*with_hidden=*/false, activation_);
  return dshares;
}

at::Tensor MoeBlock::BackwardGateUp(const ExpertRows::Batch& batch,
                                    const std::vector<at::Tensor>& dgate_up, const at::Tensor& x,
                                    bool need_dx) const {
  at::Tensor dx;
  if (need_dx) dx = at::empty({batch.count, hidden_size_}, dgate_up.front().options());
  std::vector<at::Tensor> dlow(batch.parts.size());
  const auto of = [&](const ExpertRows::Part& part) {
    return std::vector<at::Tensor>{batch.Of(part, dgate_up[0]), batch.Of(part, dgate_up[1])};
  };
  AddSums(batch, [&](size_t i) {
    const ExpertRows::Part& part = batch.parts[i];
    return experts_[part.expert].gate_up.BackwardSums(of(part), /*dropout=*/{},
                                                      need_dx ? batch.Of(part, dx) : at::Tensor(),
                                                      /*accumulate=*/false, dlow[i]);
  });
  if (!experts_.front().gate_up.HasTrainable()) return dx;
  for (size_t i = 0; i < batch.parts.size(); ++i) {
    const ExpertRows::Part& part = batch.parts[i];
    experts_[part.expert].gate_up.BackwardParams(of(part), dlow[i], batch.Of(part, x),
                                                 /*dropout=*/{});
  }
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
      for (const ExpertRows::Batch& batch : rows.batches()) {
        const at::Tensor gate = batch.In(saved.gate), up = batch.In(saved.up);
        rows.AddPlaces(batch,
                       BackwardDown(batch, rows.TokensOf(batch, dsent),
                                    rows.PlacesOf(batch, shares).unsqueeze(1), gate, up),
                       dshares);
        const at::Tensor mine = reads_x ? rows.TokensOf(batch, xsent) : at::Tensor();
        const at::Tensor dx_rows = BackwardGateUp(batch, {gate, up}, mine, need_dx);
        if (need_dx) rows.AddTokens(batch, dx_rows, results);
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

#include "model/blocks/moe.h"

#include <ATen/ATen.h>

#include <utility>

#include "model/kernels/dispatch.h"

namespace fttrain {

MoeSaved::MoeSaved(const MoeSpec& spec, TensorRank tp, at::ScalarType compute)
    : experts_(spec.num_experts()),
      top_k_(spec.top_k),
      width_(SliceOf(spec.experts.front().gate, tp).range.extent),
      compute_(compute) {}

std::vector<SavedTensor> MoeSaved::Inner(int64_t tokens) {
  const int64_t rows = tokens * top_k_;
  return {{"gate", &gate, {rows, width_}, compute_},
          {"up", &up, {rows, width_}, compute_},
          {"probabilities", &routes.probabilities, {tokens, experts_}, StatisticsType(compute_)},
          {"experts", &routes.experts, {tokens, top_k_}, at::kLong},
          {"order", &routes.order, {rows}, at::kLong}};
}

MoeBlock::MoeBlock(const MoeSpec& spec, const BlockSetup& setup)
    : Block(setup),
      activation_(spec.experts.front().activation),
      hidden_size_(spec.router.in),
      compute_(setup.options.compute),
      router_(spec, setup) {
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

template <typename Work>
void MoeBlock::ForEachExpert(const Routes& routes, const Work& work) const {
  int64_t begin = 0;
  for (size_t e = 0; e < experts_.size(); ++e) {
    const int64_t end = routes.ends.at(e);
    if (end > begin) work(experts_[e], Rows{begin, end - begin});
    begin = end;
  }
}

void MoeBlock::ForwardInner(const at::Tensor& x, const BlockContext& context,
                            MemoryCategory category, BlockSaved& base) const {
  auto& saved = static_cast<MoeSaved&>(base);
  saved.routes = router_.Choose(x, category);
  const std::vector<SavedTensor> inner = saved.Inner(x.size(0));
  {
    const MemoryScope scope(category);
    saved.gate = at::empty(inner[0].sizes, x.options());
    saved.up = at::empty(inner[1].sizes, x.options());
  }
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const at::Tensor tokens = saved.routes.Tokens();
  ForEachExpert(saved.routes, [&](const Expert& expert, const Rows& rows) {
    expert.gate_up.ForwardInto({rows.Of(saved.gate), rows.Of(saved.up)},
                               x.index_select(0, rows.Of(tokens)), /*dropout=*/{},
                               context.batch.adapters);
  });
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
    const at::Tensor tokens = saved.routes.Tokens();
    const at::Tensor shares = router_.Shares(saved.routes).to(compute_).unsqueeze(1);
    ForEachExpert(saved.routes, [&](const Expert& expert, const Rows& rows) {
      at::Tensor hidden = GluForward(rows.Of(saved.gate), rows.Of(saved.up), activation_);
      hidden.mul_(rows.Of(shares));
      // A token comes once among an expert's rows, so sums have one order.
      partial.index_add_(
          0, rows.Of(tokens),
          expert.down.Forward(hidden, {}, context.batch.adapters, rows.Of(shares)).front());
    });
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

at::Tensor MoeBlock::Backward(const at::Tensor& dy, const BlockContext& /*context*/,
                              const MakeInput& make_input, BlockSaved& base, bool need_dx) const {
  auto& saved = static_cast<MoeSaved&>(base);
  at::Tensor dx;
  {
    const Routes& routes = saved.routes;
    const at::Tensor dfull = region_.Enter(dy);
    const at::Tensor x = NeedsInput() ? make_input() : at::Tensor();
    const bool reads_x = experts_.front().gate_up.HasTrainable();
    const at::Tensor tokens = routes.Tokens();
    const at::Tensor shares = router_.Shares(routes).to(compute_).unsqueeze(1);
    const at::Tensor dshares = at::empty(routes.order.sizes(), routes.probabilities.options());
    if (need_dx) dx = at::zeros(dfull.sizes(), dfull.options());
    ForEachExpert(routes, [&](const Expert& expert, const Rows& rows) {
      const at::Tensor mine = rows.Of(tokens), gate = rows.Of(saved.gate), up = rows.Of(saved.up);
      rows.Of(dshares).copy_(
          BackwardDown(expert, dfull.index_select(0, mine), rows.Of(shares), gate, up));
      const at::Tensor dx_rows = BackwardGateUp(
          expert, {gate, up}, reads_x ? x.index_select(0, mine) : at::Tensor(), need_dx);
      if (need_dx) dx.index_add_(0, mine, dx_rows);
    });
    const at::Tensor dscores = router_.BackwardShares(dshares, routes);
    if (router_.trainable()) router_.BackwardParams(dscores, x);
    if (need_dx) dx.add_(router_.BackwardInput(dscores));
  }
  saved.FreeInner();
  return need_dx ? region_.Leave(std::move(dx)) : at::Tensor();
}

}  // namespace fttrain

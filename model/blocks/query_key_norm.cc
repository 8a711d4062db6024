#include "model/blocks/query_key_norm.h"

#include <ATen/ATen.h>

#include "model/kernels/dispatch.h"
#include "model/kernels/kernels.h"

namespace fttrain {
namespace {

// [T, heads * D] of [T, heads, D].
at::Tensor Rows(const at::Tensor& heads) { return heads.view({heads.size(0), -1}); }

// Column `i` of [T, 2] as [T, 1].
at::Tensor Column(const at::Tensor& both, int64_t i) { return both.narrow(1, i, 1); }

}  // namespace

bool QueryKeyNorm::HasStatistics(const AttentionSpec& spec, TensorRank tp) {
  return tp.size > 1 && spec.q_norm && spec.q_norm->over == NormOver::kAllHeads;
}

QueryKeyNorm::QueryKeyNorm(const AttentionSpec& spec, const BlockSetup& setup) : tp_(&setup.tp) {
  TORCH_CHECK(spec.q_norm.has_value() == spec.k_norm.has_value(), spec.q.name,
              ": a norm of one of q and k");
  if (!spec.q_norm) return;
  over_all_ = spec.q_norm->over == NormOver::kAllHeads;
  summed_ = HasStatistics(spec, RankIn(setup.tp));
  const auto side = [&](const NormSpec& norm) {
    // Heads that several ranks share are counted by each of them, in sums and here.
    const double mine = over_all_
                            ? static_cast<double>(SliceOf(norm, RankIn(setup.tp)).range.extent)
                            : static_cast<double>(norm.size);
    return Side{norm.form, setup.Norm(norm), mine * setup.tp.size()};
  };
  q_ = side(*spec.q_norm);
  k_ = side(*spec.k_norm);
  TORCH_CHECK(!summed_ || !(q_.form.centered || k_.form.centered), spec.q.name,
              ": a LayerNorm over the heads of several ranks");
}

at::Tensor QueryKeyNorm::Statistics(const at::Tensor& q, const at::Tensor& k) const {
  if (!summed_) return {};
  const at::ScalarType type = StatisticsType(q);
  const at::Tensor both = at::empty({q.size(0), 2}, q.options().dtype(type));
  Column(both, 0).copy_(Rows(q).to(type).square().sum(1, /*keepdim=*/true));
  Column(both, 1).copy_(Rows(k).to(type).square().sum(1, /*keepdim=*/true));
  tp_->AllReduce(both, ReduceOp::kSum);
  for (const auto& [side, i] : {std::pair(&q_, 0), {&k_, 1}}) {
    Column(both, i).div_(side->all).add_(side->form.eps).rsqrt_();
  }
  return both;
}

at::Tensor QueryKeyNorm::ForwardOf(const Side& side, const at::Tensor& x,
                                   const at::Tensor& rstd) const {
  if (!rstd.defined()) {
    const at::Tensor rows = over_all_ ? Rows(x) : x;
    return NormForward(rows, side.weight->value, side.form).view(x.sizes());
  }
  const at::ScalarType type = StatisticsType(x);
  at::Tensor y = Rows(x).to(type) * rstd;
  if (!side.form.rounds_once) y = y.to(x.scalar_type()).to(type);
  y.mul_(side.weight->value.to(type).add(side.form.offset));
  return y.to(x.scalar_type()).view(x.sizes());
}

QueryKeyNorm::Pair QueryKeyNorm::Forward(const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& statistics) const {
  const bool given = statistics.defined();
  return {ForwardOf(q_, q, given ? Column(statistics, 0) : at::Tensor()),
          ForwardOf(k_, k, given ? Column(statistics, 1) : at::Tensor())};
}

at::Tensor QueryKeyNorm::BackwardOf(const Side& side, const at::Tensor& dy,
                                    const at::Tensor& x) const {
  const at::Tensor rows = over_all_ ? Rows(x) : x;
  return NormBackward(dy.view(rows.sizes()), rows, side.weight->value, side.form, {},
                      side.weight->grad)
      .view(x.sizes());
}

QueryKeyNorm::Pair QueryKeyNorm::Backward(const at::Tensor& dq, const at::Tensor& dk,
                                          const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& statistics) const {
  if (!statistics.defined()) return {BackwardOf(q_, dq, q), BackwardOf(k_, dk, k)};
  struct Half {
    const Side& side;
    const at::Tensor& x;
    at::Tensor dy, g, rstd;
  };
  const at::ScalarType type = StatisticsType(q);
  const at::Tensor products = at::empty_like(statistics);
  std::vector<Half> halves;
  for (const auto& [side, x, dy] : {std::tuple(&q_, &q, &dq), {&k_, &k, &dk}}) {
    const auto i = static_cast<int64_t>(halves.size());
    Half half{*side, *x, Rows(*dy).to(type), {}, Column(statistics, i)};
    half.g = half.dy * side->weight->value.to(type).add(side->form.offset);
    Column(products, i).copy_((half.g * Rows(*x).to(type)).sum(1, /*keepdim=*/true));
    halves.push_back(std::move(half));
  }
  // Where ranks share kv heads each has a part of dy, and makes that part of dx.
  tp_->AllReduce(products, ReduceOp::kSum);
  std::vector<at::Tensor> gradients;
  for (const Half& half : halves) {
    const auto i = static_cast<int64_t>(gradients.size());
    const at::Tensor quotient = Rows(half.x).to(type) * half.rstd;
    if (half.side.weight->grad.defined()) {
      const at::Tensor seen =
          half.side.form.rounds_once ? quotient : quotient.to(half.x.scalar_type()).to(type);
      half.side.weight->grad.add_((half.dy * seen).sum(0));
    }
    const at::Tensor mean = Column(products, i) * half.rstd / half.side.all;
    const at::Tensor dx = (half.g - quotient * mean) * half.rstd;
    gradients.push_back(dx.to(half.x.scalar_type()).view(half.x.sizes()));
  }
  return {gradients[0], gradients[1]};
}

}  // namespace fttrain

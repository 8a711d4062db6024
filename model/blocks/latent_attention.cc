#include "model/blocks/latent_attention.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/kernels/dispatch.h"
#include "model/kernels/kernels.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

at::Tensor ByHead(const at::Tensor& flat, int64_t head_dim) {
  return flat.view({flat.size(0), flat.size(1) / head_dim, head_dim});
}
at::Tensor Flat(const at::Tensor& heads) {
  return heads.view({heads.size(0), heads.size(1) * heads.size(2)});
}
// Elements [begin, begin + extent) of each row or head, in place.
at::Tensor Part(const at::Tensor& x, int64_t begin, int64_t extent) {
  return x.narrow(-1, begin, extent);
}

LinearSpec FirstOfQueries(const LatentAttentionSpec& spec) { return spec.q_a ? *spec.q_a : spec.q; }

}  // namespace

int64_t PaddedHeadDim(const LatentAttentionSpec& spec) {
  return RoundUp(std::max(spec.qk_dim(), spec.v_dim), int64_t{8});
}

LatentAttentionSaved::LatentAttentionSaved(const LatentAttentionSpec& spec, TensorRank tp,
                                           at::ScalarType compute)
    : heads_(SliceOf(spec.q, tp).range.extent / spec.qk_dim()),
      qk_dim_(spec.qk_dim()),
      kv_dim_(spec.nope_dim + spec.v_dim),
      rope_dim_(spec.rope_dim),
      v_dim_(spec.v_dim),
      kv_rank_(spec.kv_norm.size),
      q_rank_(spec.q_norm ? spec.q_norm->size : 0),
      compute_(compute) {}

std::vector<SavedTensor> LatentAttentionSaved::Inner(int64_t tokens) {
  std::vector<SavedTensor> inner = {
      {"q", &q, {tokens, heads_, qk_dim_}, compute_},
      {"kv", &kv, {tokens, heads_, kv_dim_}, compute_},
      {"k_rope", &k_rope, {tokens, 1, rope_dim_}, compute_},
      {"kv_latent", &kv_latent, {tokens, kv_rank_}, compute_},
      {"attention_out", &attention_out, {tokens, heads_, v_dim_}, compute_},
      {"lse", &lse, {heads_, tokens}, StatisticsType(compute_)}};
  if (q_rank_ > 0) inner.push_back({"q_latent", &q_latent, {tokens, q_rank_}, compute_});
  return inner;
}

LatentAttentionBlock::LatentAttentionBlock(const LatentAttentionSpec& spec, const BlockSetup& setup)
    : Block(setup),
      spec_(spec),
      heads_(SliceOf(spec.q, RankIn(setup.tp)).range.extent / spec.qk_dim()),
      padded_dim_(PaddedHeadDim(spec)),
      first_(setup.Make({FirstOfQueries(spec), spec.kv_a})),
      kv_{spec.kv_norm.form, setup.Norm(spec.kv_norm), setup.Make({spec.kv_b})},
      o_(setup.Make({spec.o})) {
  TORCH_CHECK(spec.q_a.has_value() == spec.q_norm.has_value(), spec.q.name,
              ": a latent without a norm, or a norm without a latent");
  if (spec.q_a) q_.emplace(spec.q_norm->form, setup.Norm(*spec.q_norm), setup.Make({spec.q}));
}

std::vector<Linears*> LatentAttentionBlock::InOrder() {
  std::vector<Linears*> order = {&first_};
  if (q_) order.push_back(&q_->linears);
  order.push_back(&kv_.linears);
  order.push_back(&o_);
  return order;
}

at::Tensor LatentAttentionBlock::Expansion::Forward(const at::Tensor& latent,
                                                    const BlockContext& context,
                                                    MemoryCategory category) const {
  const at::Tensor normed = NormForward(latent, norm->value, form);
  const MemoryScope scope(category);
  return linears.Forward(normed, context.batch.dropout, context.batch.adapters).front();
}

at::Tensor LatentAttentionBlock::Expansion::Backward(const at::Tensor& dout,
                                                     const at::Tensor& latent,
                                                     const BlockContext& context) const {
  const DropoutContext& dropout = context.batch.dropout;
  at::Tensor dnormed;
  const at::Tensor dlow = linears.BackwardInput({dout}, dropout, dnormed);
  if (linears.HasTrainable()) {
    linears.BackwardParams({dout}, dlow, NormForward(latent, norm->value, form), dropout);
  }
  return NormBackward(dnormed, latent, norm->value, form, {}, norm->grad);
}

at::Tensor LatentAttentionBlock::Resized(const at::Tensor& heads, int64_t to) {
  const int64_t from = heads.size(2);
  if (from == to) return heads;
  if (from > to) return heads.narrow(2, 0, to).contiguous();
  at::Tensor padded = at::empty({heads.size(0), heads.size(1), to}, heads.options());
  Part(padded, 0, from).copy_(heads);
  Part(padded, from, to - from).zero_();
  return padded;
}

void LatentAttentionBlock::Project(const at::Tensor& x, const BlockContext& context,
                                   MemoryCategory category, LatentAttentionSaved& saved) const {
  const int64_t tokens = x.size(0), rank = spec_.kv_norm.size;
  at::Tensor& first = q_ ? saved.q_latent : saved.q;
  const at::Tensor compressed = at::empty({tokens, rank + spec_.rope_dim}, x.options());
  {
    const MemoryScope scope(category);
    first = at::empty({tokens, q_ ? spec_.q_norm->size : heads_ * spec_.qk_dim()}, x.options());
    saved.kv_latent = at::empty({tokens, rank}, x.options());
    saved.k_rope = at::empty({tokens, 1, spec_.rope_dim}, x.options());
  }
  first_.ForwardInto({first, compressed}, x, context.batch.dropout, context.batch.adapters);
  saved.kv_latent.copy_(Part(compressed, 0, rank));
  saved.k_rope.copy_(Part(compressed, rank, spec_.rope_dim).unsqueeze(1));
}

LatentAttentionBlock::Heads LatentAttentionBlock::Expanded(
    const LatentAttentionSaved& saved) const {
  const int64_t tokens = saved.q.size(0), heads = saved.q.size(1);
  const int64_t nope = spec_.nope_dim, qk = spec_.qk_dim();
  const at::Tensor k = at::empty({tokens, heads, padded_dim_}, saved.q.options());
  Part(k, 0, nope).copy_(Part(saved.kv, 0, nope));
  Part(k, nope, spec_.rope_dim).copy_(saved.k_rope);  // one for all heads
  if (padded_dim_ > qk) Part(k, qk, padded_dim_ - qk).zero_();
  const at::Tensor v = at::empty_like(k);
  Part(v, 0, spec_.v_dim).copy_(Part(saved.kv, nope, spec_.v_dim));
  if (padded_dim_ > spec_.v_dim) Part(v, spec_.v_dim, padded_dim_ - spec_.v_dim).zero_();
  return {Resized(saved.q, padded_dim_), k, v};
}

void LatentAttentionBlock::ForwardInner(const at::Tensor& x, const BlockContext& context,
                                        MemoryCategory category, BlockSaved& base) const {
  auto& saved = static_cast<LatentAttentionSaved&>(base);
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  Project(x, context, category, saved);
  if (q_) saved.q = q_->Forward(saved.q_latent, context, category);
  saved.q = ByHead(saved.q, spec_.qk_dim());
  saved.kv = ByHead(kv_.Forward(saved.kv_latent, context, category), spec_.nope_dim + spec_.v_dim);
  RotateHeads(saved.q, Table(context), context.batch.layout, /*inverse=*/false, spec_.nope_dim);
  RotateHeads(saved.k_rope, Table(context), context.batch.layout, /*inverse=*/false);
  const Heads heads = Expanded(saved);
  AttentionResult result;
  const bool padded = padded_dim_ > spec_.v_dim;
  {
    const MemoryScope scope(padded ? MemoryCategory::kWorkspace : category);
    if (context.batch.caches.empty()) {
      result = AttentionForward(heads.q, heads.k, heads.v, context.batch.layout, Options());
    } else {
      result.out =
          AttendCached(spec_.kv_b.name, heads.q, heads.k, heads.v, context.batch, Options());
    }
  }
  const MemoryScope scope(category);
  saved.attention_out = Resized(result.out, spec_.v_dim);
  saved.lse = padded && result.lse.defined() ? result.lse.clone() : result.lse;
}

at::Tensor LatentAttentionBlock::ForwardOutput(const BlockContext& context, MemoryCategory category,
                                               BlockSaved& base, bool /*last_use*/) const {
  const auto& saved = static_cast<const LatentAttentionSaved&>(base);
  return ForwardAndLeave(o_, Flat(saved.attention_out), context, category);
}

LatentAttentionBlock::Gradients LatentAttentionBlock::BackwardCore(
    const at::Tensor& dy, const BlockContext& context, const LatentAttentionSaved& saved) const {
  at::Tensor dout;
  {
    const DropoutContext& dropout = context.batch.dropout;
    const at::Tensor dfull = region_.Enter(dy);
    const at::Tensor dlow = o_.BackwardInput({dfull}, dropout, dout);
    if (o_.HasTrainable()) o_.BackwardParams({dfull}, dlow, Flat(saved.attention_out), dropout);
  }
  AttentionGradients grads;
  {
    const Heads heads = Expanded(saved);
    const at::Tensor dpadded = Resized(ByHead(dout, spec_.v_dim), padded_dim_);
    dout.reset();
    grads = AttentionBackward(dpadded, heads.q, heads.k, heads.v,
                              {Resized(saved.attention_out, padded_dim_), saved.lse},
                              context.batch.layout, Options());
  }
  const int64_t nope = spec_.nope_dim;
  const at::Tensor dq = Resized(grads.dq, spec_.qk_dim());
  grads.dq.reset();
  RotateHeads(dq, Table(context), context.batch.layout, /*inverse=*/true, nope);
  const at::Tensor dkv = at::empty(saved.kv.sizes(), saved.kv.options());
  Part(dkv, 0, nope).copy_(Part(grads.dk, 0, nope));
  Part(dkv, nope, spec_.v_dim).copy_(Part(grads.dv, 0, spec_.v_dim));
  const at::Tensor dk_rope = Part(grads.dk, nope, spec_.rope_dim).sum(1, /*keepdim=*/true);
  RotateHeads(dk_rope, Table(context), context.batch.layout, /*inverse=*/true);
  return {Flat(dq), Flat(dkv), Flat(dk_rope)};
}

at::Tensor LatentAttentionBlock::Backward(const at::Tensor& dy, const BlockContext& context,
                                          const MakeInput& x, BlockSaved& base,
                                          bool need_dx) const {
  auto& saved = static_cast<LatentAttentionSaved&>(base);
  std::vector<at::Tensor> dfirst(2);
  {
    Gradients grads = BackwardCore(dy, context, saved);
    const int64_t rank = spec_.kv_norm.size;
    dfirst[1] = at::empty({grads.dkv.size(0), rank + spec_.rope_dim}, grads.dkv.options());
    Part(dfirst[1], 0, rank).copy_(kv_.Backward(grads.dkv, saved.kv_latent, context));
    Part(dfirst[1], rank, spec_.rope_dim).copy_(grads.dk_rope);
    grads.dkv.reset();
    dfirst[0] = q_ ? q_->Backward(grads.dq, saved.q_latent, context) : std::move(grads.dq);
  }
  saved.FreeInner();
  return BackwardFirst(first_, std::move(dfirst), context, x, need_dx);
}

}  // namespace fttrain

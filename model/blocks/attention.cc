#include "model/blocks/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "model/kernels/dispatch.h"

namespace fttrain {
namespace {

// [T, heads, D] and [T, heads * D] of each other.
at::Tensor Heads(const at::Tensor& flat, int64_t head_dim) {
  return flat.view({flat.size(0), flat.size(1) / head_dim, head_dim});
}
at::Tensor Flat(const at::Tensor& heads) {
  return heads.view({heads.size(0), heads.size(1) * heads.size(2)});
}

// Of each token over what it sees, so many at once: each has scores of its own.
at::Tensor DecodeAll(const at::Tensor& q, c10::ArrayRef<KeysAndValues> seen,
                     const AttentionOptions& options) {
  constexpr size_t kAtOnce = 64;
  if (seen.size() <= kAtOnce) return DecodeAttention(q, seen, options);
  const at::Tensor out = at::empty_like(q);
  for (size_t begin = 0; begin < seen.size(); begin += kAtOnce) {
    const size_t count = std::min(kAtOnce, seen.size() - begin);
    const auto from = static_cast<int64_t>(begin), extent = static_cast<int64_t>(count);
    out.narrow(0, from, extent)
        .copy_(DecodeAttention(q.narrow(0, from, extent), seen.slice(begin, count), options));
  }
  return out;
}

}  // namespace

void RotateHeads(const at::Tensor& x, const RopeTable& table, const SequenceLayout& layout,
                 bool inverse, int64_t first) {
  const int64_t begin = table.TakesLong(layout) ? table.positions() : 0;
  const at::Tensor cos = table.cos.narrow(0, begin, table.positions());
  const at::Tensor sin = table.sin.narrow(0, begin, table.positions());
  RopeInPlace(x, cos, sin, layout.positions, inverse, table.interleaved, first);
}

AttentionSaved::AttentionSaved(const AttentionSpec& spec, TensorRank tp, at::ScalarType compute)
    : heads_(SliceOf(spec.q, tp).range.extent / spec.head_dim),
      kv_heads_(SliceOf(spec.k, tp).range.extent / spec.head_dim),
      head_dim_(spec.head_dim),
      statistics_(QueryKeyNorm::HasStatistics(spec, tp)),
      compute_(compute) {}

std::vector<SavedTensor> AttentionSaved::Inner(int64_t tokens) {
  const std::vector<int64_t> queries = {tokens, heads_, head_dim_};
  const std::vector<int64_t> keys = {tokens, kv_heads_, head_dim_};
  const at::ScalarType statistic = StatisticsType(compute_);
  std::vector<SavedTensor> inner = {{"q", &q, queries, compute_},
                                    {"k", &k, keys, compute_},
                                    {"v", &v, keys, compute_},
                                    {"attention_out", &attention_out, queries, compute_},
                                    {"lse", &lse, {heads_, tokens}, statistic}};
  if (statistics_) inner.push_back({"rstd", &rstd, {tokens, 2}, statistic});
  return inner;
}

AttentionBlock::AttentionBlock(const AttentionSpec& spec, const BlockSetup& setup)
    : Block(setup),
      spec_(spec),
      qkv_(setup.Make({spec.q, spec.k, spec.v})),
      o_(setup.Make({spec.o})),
      norm_(spec, setup),
      sinks_(spec.sinks.empty() ? nullptr : setup.set.Get(spec.sinks)) {}

AttentionOptions AttentionBlock::Options() const {
  AttentionOptions options = {
      .scale = spec_.scale, .window = spec_.window, .soft_cap = spec_.soft_cap};
  if (sinks_ == nullptr) return options;
  const MemoryScope scope(MemoryCategory::kWorkspace);
  options.sinks = sinks_->value.to(StatisticsType(sinks_->value));
  return options;
}

void AttentionBlock::Rotate(const at::Tensor& q, const at::Tensor& k, const BlockContext& context,
                            bool inverse) const {
  if (spec_.rope < 0) return;
  const RopeTable& table = context.ropes.at(static_cast<size_t>(spec_.rope));
  for (const at::Tensor* each : {&q, &k}) RotateHeads(*each, table, context.batch.layout, inverse);
}

std::pair<at::Tensor, at::Tensor> AttentionBlock::RotatedQueryKey(
    const AttentionSaved& saved, const BlockContext& context) const {
  if (!norm_.exists()) return {saved.q, saved.k};
  std::pair<at::Tensor, at::Tensor> normed = norm_.Forward(saved.q, saved.k, saved.rstd);
  Rotate(normed.first, normed.second, context, /*inverse=*/false);
  return normed;
}

void AttentionBlock::ForwardInner(const at::Tensor& x, const BlockContext& context,
                                  MemoryCategory category, BlockSaved& base) const {
  auto& saved = static_cast<AttentionSaved&>(base);
  {
    const MemoryScope scope(category);
    const std::vector<at::Tensor> qkv =
        qkv_.Forward(x, context.batch.dropout, context.batch.adapters);
    saved.q = Heads(qkv[0], spec_.head_dim);
    saved.k = Heads(qkv[1], spec_.head_dim);
    saved.v = Heads(qkv[2], spec_.head_dim);
  }
  if (norm_.exists()) {
    const at::Tensor rstd = norm_.Statistics(saved.q, saved.k);
    const MemoryScope scope(category);
    if (rstd.defined()) saved.rstd = rstd.clone();
  } else {
    Rotate(saved.q, saved.k, context, /*inverse=*/false);
  }
  const auto [q, k] = RotatedQueryKey(saved, context);
  const MemoryScope scope(category);
  if (!context.batch.caches.empty()) {
    saved.attention_out = AttendCached(spec_.k.name, q, k, saved.v, context.batch, Options());
    return;
  }
  AttentionResult result = AttentionForward(q, k, saved.v, context.batch.layout, Options());
  saved.attention_out = std::move(result.out);
  saved.lse = std::move(result.lse);
}

at::Tensor AttendCached(const std::string& name, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const MicrobatchContext& batch,
                        const AttentionOptions& options) {
  const SequenceLayout& layout = batch.layout;
  const int64_t documents = layout.documents();
  TORCH_CHECK(static_cast<int64_t>(batch.caches.size()) == documents, batch.caches.size(),
              " caches of ", documents, " documents");
  const bool first = !batch.caches.front()->Knows(name);
  std::vector<KeysAndValues> kept;
  for (int64_t d = 0; d < documents; ++d) {
    const int64_t begin = layout.cu_seqlens[d], tokens = layout.cu_seqlens[d + 1] - begin;
    const at::Tensor keys = k.narrow(0, begin, tokens), values = v.narrow(0, begin, tokens);
    if (batch.caches[d] == nullptr) {  // of padding, a token: it sees itself
      kept.push_back({keys.contiguous(), values.contiguous(), tokens});
      continue;
    }
    DocumentCache& cache = *batch.caches[d];
    TORCH_CHECK(cache.Knows(name) != first, "document ", d,
                " of a microbatch: either all documents begin or all go on");
    const KeysAndValues& all = cache.Append(name, keys, values, options.window);
    if (first) continue;
    for (int64_t after = tokens - 1; after >= 0; --after) {
      kept.push_back({all.keys, all.values, all.tokens - after});
    }
  }
  return first ? AttentionForward(q, k, v, layout, options).out : DecodeAll(q, kept, options);
}

at::Tensor AttentionBlock::ForwardOutput(const BlockContext& context, MemoryCategory category,
                                         BlockSaved& base, bool /*last_use*/) const {
  const auto& saved = static_cast<const AttentionSaved&>(base);
  return ForwardAndLeave(o_, Flat(saved.attention_out), context, category);
}

std::vector<at::Tensor> AttentionBlock::BackwardCore(const at::Tensor& dy,
                                                     const BlockContext& context,
                                                     const AttentionSaved& saved) const {
  at::Tensor dout;
  {
    const DropoutContext& dropout = context.batch.dropout;
    const at::Tensor dfull = region_.Enter(dy);
    const at::Tensor dlow = o_.BackwardInput({dfull}, dropout, dout);
    if (o_.HasTrainable()) o_.BackwardParams({dfull}, dlow, Flat(saved.attention_out), dropout);
  }
  AttentionGradients grads;
  {
    const auto [q, k] = RotatedQueryKey(saved, context);
    const AttentionOptions options = Options();
    const AttentionResult forward = {saved.attention_out, saved.lse};
    const at::Tensor dheads = Heads(dout, spec_.head_dim);
    grads = AttentionBackward(dheads, q, k, saved.v, forward, context.batch.layout, options);
    if (sinks_ != nullptr && sinks_->trainable) {
      sinks_->grad.add_(SinkGradient(dheads, forward, options.sinks));
    }
  }
  Rotate(grads.dq, grads.dk, context, /*inverse=*/true);
  if (norm_.exists()) {
    std::tie(grads.dq, grads.dk) = norm_.Backward(grads.dq, grads.dk, saved.q, saved.k, saved.rstd);
  }
  return {Flat(grads.dq), Flat(grads.dk), Flat(grads.dv)};
}

at::Tensor AttentionBlock::Backward(const at::Tensor& dy, const BlockContext& context,
                                    const MakeInput& x, BlockSaved& base, bool need_dx) const {
  auto& saved = static_cast<AttentionSaved&>(base);
  std::vector<at::Tensor> dqkv = BackwardCore(dy, context, saved);
  saved.FreeInner();
  return BackwardFirst(qkv_, std::move(dqkv), context, x, need_dx);
}

}  // namespace fttrain

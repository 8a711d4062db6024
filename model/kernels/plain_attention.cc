#include "model/kernels/plain_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "model/kernels/dispatch.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

// Rows [begin, end) of the tokens as [K, group * rows, D], so that the query heads of a kv head are
// one matrix.
class Heads {
 public:
  Heads(const at::Tensor& q, const at::Tensor& k)
      : kv_heads_(k.size(1)), group_(q.size(1) / k.size(1)), type_(StatisticsType(q)) {}

  at::Tensor Of(const at::Tensor& x, int64_t begin, int64_t end) const {
    const int64_t rows = end - begin, group = x.size(1) / kv_heads_;
    return x.narrow(0, begin, rows)
        .to(type_)
        .view({rows, kv_heads_, group, x.size(2)})
        .permute({1, 2, 0, 3})
        .reshape({kv_heads_, group * rows, x.size(2)});
  }
  // The other way: [K, group * rows, D] into rows of x [T, heads, D].
  void Put(const at::Tensor& part, at::Tensor x, int64_t begin, int64_t end) const {
    const int64_t rows = end - begin, group = x.size(1) / kv_heads_;
    x.narrow(0, begin, rows)
        .view({rows, kv_heads_, group, x.size(2)})
        .copy_(part.view({kv_heads_, group, rows, x.size(2)}).permute({2, 0, 1, 3}));
  }
  // lse [N, T] as [K, group * rows, 1].
  at::Tensor Statistics(const at::Tensor& lse, int64_t begin, int64_t end) const {
    return lse.narrow(1, begin, end - begin)
        .reshape({kv_heads_, group_ * (end - begin), 1})
        .to(type_);
  }
  // Sinks [N] of the same shape.
  at::Tensor Sinks(const at::Tensor& sinks, int64_t rows) const {
    return sinks.view({kv_heads_, group_, 1})
        .expand({kv_heads_, group_, rows})
        .reshape({kv_heads_, group_ * rows, 1});
  }
  at::ScalarType type() const { return type_; }
  int64_t kv_heads() const { return kv_heads_; }
  int64_t group() const { return group_; }

 private:
  int64_t kv_heads_, group_;
  at::ScalarType type_;
};

// Queries [begin, end) of a document see its keys [first, end).
struct Block {
  int64_t begin, end, first;
};

// body(block) for each block of query rows of every document, in order.
template <class Body>
void ForBlocks(const SequenceLayout& layout, const AttentionOptions& options, const Body& body) {
  for (int64_t d = 0; d < layout.documents(); ++d) {
    const int64_t from = layout.cu_seqlens[d], to = layout.cu_seqlens[d + 1];
    for (int64_t begin = from; begin < to; begin += kPlainAttentionRows) {
      const int64_t window = options.window == 0 ? begin - from : options.window - 1;
      body(Block{begin, std::min(begin + kPlainAttentionRows, to), std::max(from, begin - window)});
    }
  }
}

// scale * q k^T [K, group * rows, keys], capped, -inf where a query does not look. `slope`, if
// given, becomes the cap's derivative.
at::Tensor Scores(const Heads& heads, const at::Tensor& q, const at::Tensor& k, const Block& block,
                  const AttentionOptions& options, at::Tensor* slope = nullptr) {
  const int64_t rows = block.end - block.begin, keys = block.end - block.first;
  at::Tensor scores = at::bmm(q, k.transpose(1, 2)).mul_(options.scale);
  if (options.soft_cap > 0) {
    scores.div_(options.soft_cap).tanh_();
    if (slope != nullptr) *slope = scores.square().neg_().add_(1);
    scores.mul_(options.soft_cap);
  }
  const auto on_device = q.options().dtype(at::kLong);
  const at::Tensor distance = at::arange(block.begin, block.end, on_device).unsqueeze(1) -
                              at::arange(block.first, block.end, on_device);
  at::Tensor hidden = distance < 0;
  if (options.window > 0) hidden = hidden.logical_or(distance >= options.window);
  scores.view({heads.kv_heads(), heads.group(), rows, keys})
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  return scores;
}

}  // namespace

int64_t PlainAttentionWorkspace(const AttentionShape& shape) {
  const at::ScalarType type = StatisticsType(shape.type);
  const auto element = static_cast<int64_t>(c10::elementSize(type));
  const int64_t rows = std::min(kPlainAttentionRows, shape.longest);
  const int64_t keys =
      shape.window == 0 ? shape.longest : std::min(shape.longest, rows + shape.window - 1);
  const int64_t of_queries = shape.heads * rows * shape.head_dim * element;
  const int64_t of_keys = shape.kv_heads * keys * shape.head_dim * element;
  const int64_t scores = shape.heads * rows * keys * element;
  const int64_t hidden = rows * keys * (8 + (shape.window == 0 ? 1 : 3)) + 8 * (rows + keys);
  const int64_t statistics = 3 * shape.heads * rows * element;
  const int64_t sums = 2 * shape.tokens * shape.kv_heads * shape.head_dim * element;
  // Operands by head are views but where they are converted or query heads share a kv head; both
  // is two copies for a moment.
  const bool converted = type != shape.type, grouped = shape.heads != shape.kv_heads;
  const int64_t held_queries = converted || grouped ? of_queries : 0;
  const int64_t twice = converted && grouped ? of_queries : 0;
  const int64_t held_keys = converted ? of_keys : 0;
  // Beside queries, keys and dout of a block: its scores while some are hidden, with out and its
  // product with dout, and with their gradient and what is made of that.
  const int64_t most =
      std::max({scores + hidden, scores + held_queries + std::max(twice, of_queries),
                2 * scores + std::max(of_queries, of_keys)});
  return sums + 2 * held_queries + held_keys + statistics + most + (shape.capped ? scores : 0);
}

AttentionResult PlainAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SequenceLayout& layout,
                                      const AttentionOptions& options) {
  AttentionResult result{at::empty_like(q),
                         at::empty({q.size(1), q.size(0)}, q.options().dtype(StatisticsType(q)))};
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const Heads heads(q, k);
  ForBlocks(layout, options, [&](const Block& block) {
    const at::Tensor scores = Scores(heads, heads.Of(q, block.begin, block.end),
                                     heads.Of(k, block.first, block.end), block, options);
    at::Tensor lse = scores.logsumexp(-1, /*keepdim=*/true);
    if (options.sinks.defined())
      lse = at::logaddexp(lse, heads.Sinks(options.sinks, block.end - block.begin));
    heads.Put(at::bmm((scores - lse).exp_(), heads.Of(v, block.first, block.end)), result.out,
              block.begin, block.end);
    result.lse.narrow(1, block.begin, block.end - block.begin)
        .copy_(lse.view({q.size(1), block.end - block.begin}));
  });
  return result;
}

AttentionGradients PlainAttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                          const at::Tensor& k, const at::Tensor& v,
                                          const AttentionResult& forward,
                                          const SequenceLayout& layout,
                                          const AttentionOptions& options) {
  AttentionGradients grads{at::empty_like(q), at::empty_like(k), at::empty_like(v)};
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const Heads heads(q, k);
  // Keys belong to several blocks: their gradients are sums.
  const auto wide = q.options().dtype(heads.type());
  const at::Tensor dk = at::zeros(k.sizes(), wide), dv = at::zeros(v.sizes(), wide);
  const auto add = [&](const at::Tensor& part, const at::Tensor& sum, const Block& block) {
    const int64_t keys = block.end - block.first;
    sum.narrow(0, block.first, keys).add_(part.transpose(0, 1));
  };
  ForBlocks(layout, options, [&](const Block& block) {
    const at::Tensor queries = heads.Of(q, block.begin, block.end);
    const at::Tensor keys = heads.Of(k, block.first, block.end);
    const at::Tensor dy = heads.Of(dout, block.begin, block.end);
    at::Tensor slope;
    const at::Tensor p = Scores(heads, queries, keys, block, options, &slope)
                             .sub_(heads.Statistics(forward.lse, block.begin, block.end))
                             .exp_();
    add(at::bmm(p.transpose(1, 2), dy), dv, block);
    // d softmax: p (dp - sum(p dp)), and sum(p dp) is sum(dout out).
    const at::Tensor delta =
        (dy * heads.Of(forward.out, block.begin, block.end)).sum(-1, /*keepdim=*/true);
    const at::Tensor ds = at::bmm(dy, heads.Of(v, block.first, block.end).transpose(1, 2))
                              .sub_(delta)
                              .mul_(p)
                              .mul_(options.scale);
    if (slope.defined()) ds.mul_(slope);
    heads.Put(at::bmm(ds, keys), grads.dq, block.begin, block.end);
    add(at::bmm(ds.transpose(1, 2), queries), dk, block);
  });
  grads.dk.copy_(dk);
  grads.dv.copy_(dv);
  return grads;
}

}  // namespace fttrain

#include "model/kernels/decode_attention.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/kernels/dispatch.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

void CheckDocuments(const at::Tensor& q, c10::ArrayRef<KeysAndValues> documents,
                    const AttentionOptions& options) {
  CheckInput("decoding's q", q);
  TORCH_CHECK(
      q.dim() == 3 && !documents.empty() && q.size(0) == static_cast<int64_t>(documents.size()),
      "decoding: q ", q.sizes(), " of ", documents.size(), " documents");
  TORCH_CHECK(options.window >= 0, "decoding: window ", options.window);
  if (options.sinks.defined()) {
    CheckOperand("decoding's sinks", q, options.sinks, {q.size(1)}, StatisticsType(q));
  }
  for (const KeysAndValues& each : documents) {
    CheckSame("decoding's keys and values", each.keys, each.values);
    const at::Tensor& k = each.keys;
    TORCH_CHECK(k.dim() == 3 && k.size(2) == q.size(2) && k.size(1) > 0 &&
                    q.size(1) % k.size(1) == 0 && k.size(1) == documents[0].keys.size(1) &&
                    k.scalar_type() == q.scalar_type() && k.device() == q.device(),
                "decoding: q ", q.toString(), " ", q.sizes(), ", keys ", k.toString(), " ",
                k.sizes());
    TORCH_CHECK(each.tokens > 0 && each.tokens <= k.size(0), "decoding: ", each.tokens,
                " tokens in ", k.sizes());
  }
}

// Of the tokens of a document those that its last one sees.
struct Seen {
  Seen(const KeysAndValues& document, int64_t window)
      : extent(window == 0 ? document.tokens : std::min(document.tokens, window)),
        offset(document.tokens - extent) {}
  int64_t extent, offset;
};

template <class T>
void DecodeOnCpu(const at::Tensor& q, c10::ArrayRef<KeysAndValues> documents,
                 const AttentionOptions& options, const at::Tensor& out) {
  using S = typename StatisticsOf<T>::Type;
  const int64_t heads = q.size(1), kv_heads = documents[0].keys.size(1), dim = q.size(2);
  const int64_t group = heads / kv_heads;
  int64_t longest = 0;
  for (const KeysAndValues& each : documents) {
    longest = std::max(longest, Seen(each, options.window).extent);
  }
  const int64_t items = q.size(0) * kv_heads, room = group * RoundUp(longest, kDecodeUnit);
  const MemoryScope scope(MemoryCategory::kWorkspace);
  // Every item has its own: which thread takes which is not known beforehand.
  const at::Tensor scores = at::empty({items, room}, q.options().dtype(StatisticsType(q)));
  const RowKernels<T>& kernels = RowsOf<T>(SelectedCpuKernels());
  ParallelItems(items, longest * group * dim, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t document = item / kv_heads, head = item % kv_heads;
      const KeysAndValues& kept = documents[document];
      const Seen seen(kept, options.window);
      const int64_t q_at = (document * heads + head * group) * dim;
      const int64_t kv_at = (seen.offset * kv_heads + head) * dim;
      kernels.attention_decode(
          {Data<T>(q) + q_at, Data<T>(kept.keys) + kv_at, Data<T>(kept.values) + kv_at,
           MutableData<T>(out) + q_at, kv_heads * dim, seen.extent, group, dim, options.scale,
           options.soft_cap,
           options.sinks.defined() ? Data<S>(options.sinks) + head * group : nullptr},
          MutableData<S>(scores) + item * room);
    }
  });
}

}  // namespace

at::Tensor DecodeAttention(const at::Tensor& q, c10::ArrayRef<KeysAndValues> documents,
                           const AttentionOptions& options) {
  CheckDocuments(q, documents, options);
  if (!q.is_cpu()) return PlainDecodeAttention(q, documents, options);
  const at::Tensor out = at::empty_like(q);
  WithElementType(q, [&]<class T>(T) { DecodeOnCpu<T>(q, documents, options, out); });
  return out;
}

at::Tensor PlainDecodeAttention(const at::Tensor& q, c10::ArrayRef<KeysAndValues> documents,
                                const AttentionOptions& options) {
  CheckDocuments(q, documents, options);
  const at::Tensor out = at::empty_like(q);
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::ScalarType type = StatisticsType(q);
  for (size_t d = 0; d < documents.size(); ++d) {
    const int64_t kv_heads = documents[d].keys.size(1), group = q.size(1) / kv_heads;
    const Seen seen(documents[d], options.window);
    const auto by_head = [&](const at::Tensor& kept) {
      return kept.narrow(0, seen.offset, seen.extent).to(type).transpose(0, 1);  // [K, seen, D]
    };
    const at::Tensor row = q.select(0, static_cast<int64_t>(d));
    const at::Tensor queries = row.to(type).view({kv_heads, group, q.size(2)});
    const at::Tensor scores =
        at::bmm(queries, by_head(documents[d].keys).transpose(1, 2)).mul_(options.scale);
    if (options.soft_cap > 0) {
      scores.div_(options.soft_cap).tanh_().mul_(options.soft_cap);
    }
    at::Tensor lse = scores.logsumexp(-1, /*keepdim=*/true);
    if (options.sinks.defined()) {
      lse = at::logaddexp(lse, options.sinks.view({kv_heads, group, 1}));
    }
    const at::Tensor sum = at::bmm((scores - lse).exp_(), by_head(documents[d].values));
    out.select(0, static_cast<int64_t>(d)).copy_(sum.view(row.sizes()));
  }
  return out;
}

}  // namespace fttrain

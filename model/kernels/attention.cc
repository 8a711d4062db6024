#include "model/kernels/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/dispatch.h"
#include "model/kernels/plain_attention.h"
#include "runtime/memory/ledger.h"
#include "runtime/memory/rehearsal.h"

namespace fttrain {
namespace {

void CheckShapes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const SequenceLayout& layout, const AttentionOptions& options) {
  CheckInput("attention's q", q);
  CheckInput("attention's k", k);
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && q.size(2) == k.size(2) && k.size(1) > 0 &&
                  q.size(1) % k.size(1) == 0,
              "attention: q ", q.sizes(), ", k ", k.sizes());
  CheckSame("attention's k and v", k, v);
  TORCH_CHECK(q.scalar_type() == k.scalar_type() && q.device() == k.device(), "attention: q is ",
              q.toString(), ", k ", k.toString());
  TORCH_CHECK(q.size(0) == layout.tokens() && k.size(0) == layout.tokens(), "attention: q ",
              q.sizes(), ", k ", k.sizes(), " for ", layout.tokens(), " tokens");
  TORCH_CHECK(options.window >= 0 && options.soft_cap >= 0, "attention: window ", options.window,
              ", soft cap ", options.soft_cap);
  if (options.sinks.defined()) {
    CheckOperand("attention's sinks", q, options.sinks, {q.size(1)}, StatisticsType(q));
  }
}

bool TakesFlash(const at::Tensor& q, const AttentionOptions& options) {
  return q.is_cuda() && options.soft_cap == 0 && FlashAttentionTakes(q.scalar_type(), q.size(2));
}

constexpr int64_t kSinkRows = 256;  // tokens at a time whose products are formed

// One (document, kv head): the unit of work, and of the sums of dk and dv.
struct Item {
  int64_t begin, length, kv_head;
};

// The longest documents first, so that threads that take the next item finish together.
std::vector<Item> MakeItems(const SequenceLayout& layout, int64_t kv_heads) {
  std::vector<Item> items;
  for (int64_t d = 0; d < layout.documents(); ++d) {
    const int64_t begin = layout.cu_seqlens[d], length = layout.cu_seqlens[d + 1] - begin;
    for (int64_t head = 0; head < kv_heads; ++head) items.push_back({begin, length, head});
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& a, const Item& b) { return a.length > b.length; });
  return items;
}

// Runs `kernel` on every item. Each is computed by one thread alone, so results do not depend on
// their number.
template <class T, class MakeHead>
void RunItems(const std::vector<Item>& items, bool backward, const at::TensorOptions& options,
              const MakeHead& make_head) {
  const RowKernels<T>& kernels = RowsOf<T>(SelectedCpuKernels());
  const auto kernel = backward ? kernels.attention_backward : kernels.attention_forward;
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), items.size());
  const int64_t bytes = kernels.attention_workspace(make_head(items.front()), backward);
  const MemoryScope scope(MemoryCategory::kWorkspace);  // results keep the caller's category
  at::Tensor workspace = at::empty({threads, bytes}, options.dtype(at::kByte));
  if (IsRehearsal()) return;
  std::atomic<size_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t) {
    for (size_t i = next++; i < items.size(); i = next++) {
      kernel(make_head(items[i]), workspace.mutable_data_ptr<uint8_t>() + begin * bytes);
    }
  });
}

template <class T>
AttentionHead<T> HeadOf(const Item& item, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const AttentionResult& result,
                        const AttentionOptions& options) {
  using S = typename StatisticsOf<T>::Type;
  const int64_t heads = q.size(1), kv_heads = k.size(1), dim = q.size(2), group = heads / kv_heads;
  const int64_t q_at = (item.begin * heads + item.kv_head * group) * dim;
  const int64_t kv_at = (item.begin * kv_heads + item.kv_head) * dim;
  AttentionHead<T> head{Data<T>(q) + q_at,
                        Data<T>(k) + kv_at,
                        Data<T>(v) + kv_at,
                        MutableData<T>(result.out) + q_at,
                        MutableData<S>(result.lse) + item.kv_head * group * q.size(0) + item.begin,
                        heads * dim,
                        kv_heads * dim,
                        q.size(0),
                        item.length,
                        group,
                        dim,
                        options.window,
                        options.scale,
                        options.soft_cap};
  if (options.sinks.defined()) head.sinks = Data<S>(options.sinks) + item.kv_head * group;
  return head;
}

}  // namespace

AttentionResult AttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SequenceLayout& layout, const AttentionOptions& options) {
  CheckShapes(q, k, v, layout, options);
  if (TakesFlash(q, options)) {
    AttentionResult result = FlashAttentionForward(q, k, v, layout, options);
    if (options.sinks.defined()) AddSinks(options.sinks, result);
    return result;
  }
  if (q.is_cuda()) return PlainAttentionForward(q, k, v, layout, options);
  AttentionResult result{at::empty_like(q),
                         at::empty({q.size(1), q.size(0)}, q.options().dtype(StatisticsType(q)))};
  WithElementType(q, [&]<class T>(T) {
    RunItems<T>(MakeItems(layout, k.size(1)), /*backward=*/false, q.options(),
                [&](const Item& item) { return HeadOf<T>(item, q, k, v, result, options); });
  });
  return result;
}

AttentionGradients AttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                     const at::Tensor& k, const at::Tensor& v,
                                     const AttentionResult& forward, const SequenceLayout& layout,
                                     const AttentionOptions& options) {
  CheckShapes(q, k, v, layout, options);
  CheckSame("attention's dout", q, dout);
  CheckSame("attention's out", q, forward.out);
  CheckOperand("attention's log-sum-exp", q, forward.lse, {q.size(1), q.size(0)},
               StatisticsType(q));
  if (TakesFlash(q, options)) {
    return FlashAttentionBackward(dout, q, k, v, forward, layout, options);
  }
  if (q.is_cuda()) return PlainAttentionBackward(dout, q, k, v, forward, layout, options);
  AttentionGradients grads{at::empty_like(q), at::empty_like(k), at::empty_like(v)};
  WithElementType(q, [&]<class T>(T) {
    RunItems<T>(MakeItems(layout, k.size(1)), /*backward=*/true, q.options(),
                [&](const Item& item) {
                  AttentionHead<T> head = HeadOf<T>(item, q, k, v, forward, options);
                  const int64_t q_at = head.q - Data<T>(q), kv_at = head.k - Data<T>(k);
                  head.dout = Data<T>(dout) + q_at;
                  head.dq = MutableData<T>(grads.dq) + q_at;
                  head.dk = MutableData<T>(grads.dk) + kv_at;
                  head.dv = MutableData<T>(grads.dv) + kv_at;
                  return head;
                });
  });
  return grads;
}

void AddSinks(const at::Tensor& sinks, AttentionResult& result) {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor all = at::logaddexp(result.lse, sinks.unsqueeze(1));
  const at::Tensor left = result.lse.sub_(all).exp_();
  result.out.mul_(left.t().unsqueeze(-1));
  result.lse.copy_(all);
}

at::Tensor SinkGradient(const at::Tensor& dout, const AttentionResult& forward,
                        const at::Tensor& sinks) {
  CheckSame("sinks' dout", forward.out, dout);
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::ScalarType type = sinks.scalar_type();
  const at::Tensor gradient = at::zeros_like(sinks);
  for (int64_t begin = 0; begin < dout.size(0); begin += kSinkRows) {
    const int64_t rows = std::min(kSinkRows, dout.size(0) - begin);
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, rows).to(type); };
    const at::Tensor products = (part(dout) * part(forward.out)).sum(-1);
    const at::Tensor share =
        (sinks.unsqueeze(1) - forward.lse.narrow(1, begin, rows)).exp_().t();  // [rows, N]
    gradient.sub_((products * share).sum(0));
  }
  return gradient;
}

int64_t CudaAttentionWorkspace(const AttentionShape& shape, bool deterministic) {
  return PlainAttentionReason(shape).empty() ? FlashAttentionWorkspace(shape, deterministic)
                                             : PlainAttentionWorkspace(shape);
}

std::string PlainAttentionReason(const AttentionShape& shape) {
  if (shape.capped) return "it has no soft cap of scores";
  if (FlashAttentionTakes(shape.type, shape.head_dim)) return "";
  return "it takes bf16 heads of a multiple of 8 up to 256";
}

}  // namespace fttrain

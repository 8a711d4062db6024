#include "model/attention.h"

#include <ATen/ATen.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

#include <limits>
#include <optional>

namespace fttrain {
namespace {

void CheckShapes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const SequenceLayout& layout) {
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.sizes() == k.sizes() && q.size(2) == k.size(2) &&
                  q.size(1) % k.size(1) == 0,
              "attention: q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
  TORCH_CHECK(q.size(0) == layout.tokens() && k.size(0) == layout.tokens(), "attention: q ",
              q.sizes(), ", k ", k.sizes(), " for ", layout.tokens(), " tokens");
  TORCH_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(),
              "attention: q, k, v are ", q.scalar_type(), ", ", k.scalar_type(), ", ",
              v.scalar_type());
}

// [length, heads, D] of one document as [1, N, length, D]; kv heads are repeated to N.
at::Tensor Document(const at::Tensor& x, int64_t begin, int64_t length, int64_t repeat) {
  at::Tensor heads = x.narrow(0, begin, length).transpose(0, 1);
  if (repeat > 1) heads = heads.repeat_interleave(repeat, 0);
  return heads.unsqueeze(0);
}

// Additive mask of a causal sliding window; undefined when the window covers the document.
std::optional<at::Tensor> WindowMask(const at::Tensor& q, int64_t length, int64_t window) {
  if (window == 0 || window >= length) return std::nullopt;
  const at::Tensor allowed =
      at::ones({length, length}, q.options().dtype(at::kBool)).tril().triu(1 - window);
  at::Tensor mask =
      at::full({length, length}, -std::numeric_limits<double>::infinity(), q.options());
  return mask.masked_fill_(allowed, 0.0);
}

}  // namespace

AttentionResult AttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SequenceLayout& layout, const AttentionOptions& options) {
  CheckShapes(q, k, v, layout);
  const int64_t heads = q.size(1), group = heads / k.size(1);
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  AttentionResult result{at::empty_like(q, q.options(), at::MemoryFormat::Contiguous),
                         at::empty({heads, q.size(0)}, q.options().dtype(wide))};
  for (int64_t d = 0; d < layout.documents(); ++d) {
    const int64_t begin = layout.cu_seqlens[d], length = layout.cu_seqlens[d + 1] - begin;
    const auto mask = WindowMask(q, length, options.window);
    const auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
        Document(q, begin, length, 1), Document(k, begin, length, group),
        Document(v, begin, length, group), /*dropout_p=*/0.0, /*is_causal=*/!mask, mask,
        options.scale);
    result.out.narrow(0, begin, length).copy_(out.squeeze(0).transpose(0, 1));
    result.lse.narrow(1, begin, length).copy_(lse.squeeze(0));
  }
  return result;
}

AttentionGradients AttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                     const at::Tensor& k, const at::Tensor& v,
                                     const AttentionResult& forward, const SequenceLayout& layout,
                                     const AttentionOptions& options) {
  CheckShapes(q, k, v, layout);
  const int64_t kv_heads = k.size(1), group = q.size(1) / kv_heads;
  AttentionGradients grads{at::empty_like(q, q.options(), at::MemoryFormat::Contiguous),
                           at::empty_like(k, k.options(), at::MemoryFormat::Contiguous),
                           at::empty_like(v, v.options(), at::MemoryFormat::Contiguous)};
  const auto sum_group = [&](const at::Tensor& dkv, int64_t length) {
    const at::Tensor grouped = dkv.reshape({kv_heads, group, length, q.size(2)});
    return grouped.sum(1).transpose(0, 1);
  };
  for (int64_t d = 0; d < layout.documents(); ++d) {
    const int64_t begin = layout.cu_seqlens[d], length = layout.cu_seqlens[d + 1] - begin;
    const auto mask = WindowMask(q, length, options.window);
    const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        Document(dout, begin, length, 1), Document(q, begin, length, 1),
        Document(k, begin, length, group), Document(v, begin, length, group),
        Document(forward.out, begin, length, 1), forward.lse.narrow(1, begin, length).unsqueeze(0),
        /*dropout_p=*/0.0, /*is_causal=*/!mask, mask, options.scale);
    grads.dq.narrow(0, begin, length).copy_(dq.squeeze(0).transpose(0, 1));
    grads.dk.narrow(0, begin, length).copy_(sum_group(dk, length));
    grads.dv.narrow(0, begin, length).copy_(sum_group(dv, length));
  }
  return grads;
}

}  // namespace fttrain

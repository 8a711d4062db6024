#include "model/kernels/cuda/attention.h"

#include <ATen/ATen.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>

#include <optional>

namespace fttrain {
namespace {

// A window of w tokens incl. the token itself is w - 1 to the left.
std::optional<c10::SymInt> WindowLeft(const AttentionOptions& options) {
  if (options.window == 0) return std::nullopt;
  return c10::SymInt(options.window - 1);
}
std::optional<c10::SymInt> WindowRight(const AttentionOptions& options) {
  if (options.window == 0) return std::nullopt;
  return c10::SymInt(0);
}

}  // namespace

bool FlashAttentionTakes(const at::Tensor& q) {
  const bool narrow = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  return q.is_cuda() && narrow && q.size(2) % 8 == 0 && q.size(2) <= 256;
}

AttentionResult FlashAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SequenceLayout& layout,
                                      const AttentionOptions& options) {
  const auto [out, lse, rng_state, unused, mask] = at::_flash_attention_forward_symint(
      q, k, v, layout.cu_seqlens_device, layout.cu_seqlens_device, layout.max_document_tokens,
      layout.max_document_tokens, /*dropout_p=*/0.0, /*is_causal=*/true,
      /*return_debug_mask=*/false, options.scale, WindowLeft(options), WindowRight(options));
  return {out, lse};
}

AttentionGradients FlashAttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                          const at::Tensor& k, const at::Tensor& v,
                                          const AttentionResult& forward,
                                          const SequenceLayout& layout,
                                          const AttentionOptions& options) {
  // Without dropout the generator's state is not read.
  const at::Tensor unread = at::empty({2}, q.options().dtype(at::kUInt64));
  const auto [dq, dk, dv] = at::_flash_attention_backward_symint(
      dout, q, k, v, forward.out, forward.lse, layout.cu_seqlens_device, layout.cu_seqlens_device,
      layout.max_document_tokens, layout.max_document_tokens, /*dropout_p=*/0.0, /*is_causal=*/true,
      unread, unread, options.scale, WindowLeft(options), WindowRight(options));
  return {dq, dk, dv};
}

}  // namespace fttrain

#include "model/kernels/cuda/attention.h"

#include <ATen/ATen.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>

#include <optional>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/rehearsal.h"

namespace fttrain {
namespace {

constexpr int64_t kRandomStateBytes = 16;  // a seed and an offset

// A window of w tokens incl. the token itself is w - 1 to the left.
std::optional<c10::SymInt> WindowLeft(const AttentionOptions& options) {
  if (options.window == 0) return std::nullopt;
  return c10::SymInt(options.window - 1);
}
std::optional<c10::SymInt> WindowRight(const AttentionOptions& options) {
  if (options.window == 0) return std::nullopt;
  return c10::SymInt(0);
}

// What a call asks for beside its results, in a rehearsal of it.
void TakeWorkspace(const at::Tensor& q, int64_t bytes) {
  const at::Tensor workspace = at::empty({bytes}, q.options().dtype(at::kByte));
}

}  // namespace

bool FlashAttentionTakes(at::ScalarType type, int64_t head_dim) {
  const bool narrow = type == at::kBFloat16 || type == at::kHalf;
  return narrow && head_dim % 8 == 0 && head_dim <= 256;
}

int64_t FlashAttentionWorkspace(const AttentionShape& shape, bool deterministic,
                                int64_t multiprocessors) {
  const int64_t rows = shape.tokens + 128 * shape.documents;
  const int64_t rounded_dim = RoundUp(shape.head_dim, shape.head_dim <= 128 ? 32 : 64);
  const int64_t sums =
      deterministic ? CeilDivide(multiprocessors, shape.documents * shape.heads) : 1;
  int64_t bytes = 4 * rows * shape.heads * (sums * rounded_dim + 1) + kRandomStateBytes;
  if (shape.heads != shape.kv_heads) {
    bytes += 2 * shape.tokens * shape.heads * shape.head_dim *
             static_cast<int64_t>(c10::elementSize(shape.type));
  }
  return bytes;
}

AttentionResult FlashAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SequenceLayout& layout,
                                      const AttentionOptions& options) {
  if (IsRehearsal()) {
    AttentionResult result{at::empty_like(q),
                           at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat))};
    TakeWorkspace(q, kRandomStateBytes);
    return result;
  }
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
  if (IsRehearsal()) {
    AttentionGradients grads{at::empty_like(q), at::empty_like(k), at::empty_like(v)};
    const AttentionShape shape{.tokens = q.size(0),
                               .documents = layout.documents(),
                               .longest = layout.max_document_tokens,
                               .heads = q.size(1),
                               .kv_heads = k.size(1),
                               .head_dim = q.size(2),
                               .type = q.scalar_type()};
    TakeWorkspace(q, FlashAttentionWorkspace(shape, at::globalContext().deterministicAlgorithms()));
    return grads;
  }
  // Without dropout the generator's state is not read.
  const at::Tensor unread = at::empty({kRandomStateBytes / 8}, q.options().dtype(at::kUInt64));
  const auto [dq, dk, dv] = at::_flash_attention_backward_symint(
      dout, q, k, v, forward.out, forward.lse, layout.cu_seqlens_device, layout.cu_seqlens_device,
      layout.max_document_tokens, layout.max_document_tokens, /*dropout_p=*/0.0, /*is_causal=*/true,
      unread, unread, options.scale, WindowLeft(options), WindowRight(options));
  return {dq, dk, dv};
}

}  // namespace fttrain

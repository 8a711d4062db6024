// Attention by products of matrices and a softmax, on every device: what CUDA does where flash
// attention does not go (float32, float64, head dimensions that are no multiple of 8, soft caps).
// Blocks of query rows bound the scores; nothing is kept but out and lse.
#pragma once

#include "model/kernels/attention.h"

namespace fttrain {

// As AttentionForward and AttentionBackward, which check the shapes. Narrower types than float32
// are computed in float32 and rounded once.
AttentionResult PlainAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SequenceLayout& layout,
                                      const AttentionOptions& options);
AttentionGradients PlainAttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                          const at::Tensor& k, const at::Tensor& v,
                                          const AttentionResult& forward,
                                          const SequenceLayout& layout,
                                          const AttentionOptions& options);

constexpr int64_t kPlainAttentionRows = 128;  // query rows of a block
// Bytes that PlainAttentionBackward allocates beside its operands and results, at most: those of
// the block that sees most keys, and whole sums of dk and dv.
int64_t PlainAttentionWorkspace(const AttentionShape& shape);

}  // namespace fttrain

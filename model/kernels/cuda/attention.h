// ATen's flash attention over cu_seqlens, on CUDA tensors. attention.cc checks the shapes.
#pragma once

#include "model/kernels/attention.h"

namespace fttrain {

// bfloat16 and float16 with a head dimension that is a multiple of 8, at most 256.
bool FlashAttentionTakes(at::ScalarType type, int64_t head_dim);

// Bytes that FlashAttentionBackward allocates beside its operands and results, as mha_varlen_bwd
// does (ATen/native/transformers/cuda/flash_attn/flash_api.cpp, torch 2.11): float32 sums of dq,
// and of the softmax's gradient, with 128 rows more for every document; where query heads share a
// kv head, dk and dv of each. Deterministic, several sums of dq: as many as fill the device's
// multiprocessors, of which no GPU has more than 192.
int64_t FlashAttentionWorkspace(const AttentionShape& shape, bool deterministic,
                                int64_t multiprocessors = 192);

// options.sinks are the caller's to add: AddSinks.
AttentionResult FlashAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SequenceLayout& layout,
                                      const AttentionOptions& options);
AttentionGradients FlashAttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                          const at::Tensor& k, const at::Tensor& v,
                                          const AttentionResult& forward,
                                          const SequenceLayout& layout,
                                          const AttentionOptions& options);

}  // namespace fttrain

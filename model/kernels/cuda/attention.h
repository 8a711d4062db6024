// ATen's flash attention over cu_seqlens, on CUDA tensors. attention.cc checks the shapes.
#pragma once

#include "model/kernels/attention.h"

namespace fttrain {

// bfloat16 and float16 with a head dimension that is a multiple of 8, at most 256. Builds without
// CUDA take nothing.
bool FlashAttentionTakes(const at::Tensor& q);

AttentionResult FlashAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SequenceLayout& layout,
                                      const AttentionOptions& options);
AttentionGradients FlashAttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                          const at::Tensor& k, const at::Tensor& v,
                                          const AttentionResult& forward,
                                          const SequenceLayout& layout,
                                          const AttentionOptions& options);

}  // namespace fttrain

// Attention on CUDA tensors; shapes are checked by attention.cc. bfloat16 and float16: ATen's flash
// attention over cu_seqlens. Other dtypes, and builds without CUDA, throw c10::Error.
#pragma once

#include "model/kernels/attention.h"

namespace fttrain {

AttentionResult CudaAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const SequenceLayout& layout, const AttentionOptions& options);
AttentionGradients CudaAttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                         const at::Tensor& k, const at::Tensor& v,
                                         const AttentionResult& forward,
                                         const SequenceLayout& layout,
                                         const AttentionOptions& options);

}  // namespace fttrain

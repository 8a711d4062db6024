// Causal grouped-query attention over packed documents, forward and explicit backward
// (FlashAttention-2, Dao, arXiv:2307.08691): the log-sum-exp is kept, probabilities are recomputed.
// CPU: a blocked kernel of our own; CUDA: ATen's flash attention with cu_seqlens, and for what that
// does not take, plain products (plain_attention.h). Flash attention knows no sinks: what it gives
// is scaled by the share that a sink leaves, sigmoid(lse - sink), and the log-sum-exp becomes that
// with the sink, from which its own backward then makes the right probabilities. A rounding more.
#pragma once

#include <string>

#include "model/kernels/sequence_layout.h"

namespace fttrain {

// A call, for the arithmetic of its memory.
struct AttentionShape {
  int64_t tokens = 0, documents = 1, longest = 0;  // longest: tokens of one document, at most
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t window = 0;
  bool capped = false;  // AttentionOptions::soft_cap
  at::ScalarType type = at::kFloat;
};

struct AttentionOptions {
  double scale = 0.0;     // softmax(scale * q k^T)
  int64_t window = 0;     // sliding window incl. the token itself; 0: none
  double soft_cap = 0.0;  // scaled scores x become cap tanh(x / cap); 0: none
  // Scores [N] of q's device, in statistics' type, neither scaled nor capped, that join the softmax
  // of a head's every query with a value of zeros; undefined: none. No gradient is theirs here:
  // SinkGradient.
  at::Tensor sinks = {};
};

struct AttentionResult {
  at::Tensor out;  // [T, N, D], dtype of q
  at::Tensor lse;  // [N, T] float32 (float64 for float64 q), natural log, of the scores, sinks too
};

// q [T, N, D], k and v [T, K, D] with N % K == 0; query head n attends kv head n / (N / K).
AttentionResult AttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SequenceLayout& layout, const AttentionOptions& options);

struct AttentionGradients {
  at::Tensor dq, dk, dv;  // shapes of q, k, v
};
AttentionGradients AttentionBackward(const at::Tensor& dout, const at::Tensor& q,
                                     const at::Tensor& k, const at::Tensor& v,
                                     const AttentionResult& forward, const SequenceLayout& layout,
                                     const AttentionOptions& options);

// Makes of the result of a forward without sinks, in place, that of one with them.
void AddSinks(const at::Tensor& sinks, AttentionResult& result);
// Gradients of the sinks of such a forward [N], in statistics' type: minus the sum over queries of
// a sink's probability times <dout, out>.
at::Tensor SinkGradient(const at::Tensor& dout, const AttentionResult& forward,
                        const at::Tensor& sinks);

// Bytes that AttentionBackward allocates on a CUDA device beside its operands and results, at most;
// AttentionForward takes less. `deterministic`: as ATen is told to be. Pure.
int64_t CudaAttentionWorkspace(const AttentionShape& shape, bool deterministic);
// Why a CUDA device computes such attention by plain products; empty where flash attention takes
// it.
std::string PlainAttentionReason(const AttentionShape& shape);

}  // namespace fttrain

// Fused element-wise operations, one entry for CPU and CUDA: element arithmetic is shared
// (element_math.h), the CPU loops are vectorised and threaded, the .cu files hold indexing only. x
// may be float64, float32 or bfloat16 (float16 on CUDA); statistics are float32 (float64 for
// float64 input). Tensors are contiguous and on one device. All enqueue on the current stream.
// Throw c10::Error on shape or dtype mismatch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/config/forms.h"

namespace fttrain {

// RMSNorm (Zhang & Sennrich, arXiv:1910.07467) or LayerNorm without a bias, as NormForm says; a
// plain eps is Llama's RMSNorm. x [..., H], weight [H] of x's dtype -> [..., H].
at::Tensor NormForward(const at::Tensor& x, const at::Tensor& weight, const NormForm& form);
// h = x + delta is written to x (in place), its norm returned: the residual add fused into the
// norm.
at::Tensor AddNormForward(at::Tensor x, const at::Tensor& delta, const at::Tensor& weight,
                          const NormForm& form);
// dx = d norm(x)^T dy + dresidual (if defined); statistics are recomputed from x. dweight (float32,
// or float64; [H]), if defined, is added to.
at::Tensor NormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                        const NormForm& form, const at::Tensor& dresidual, at::Tensor dweight);

// Rotary embedding (Su et al., arXiv:2104.09864) of R elements of each head, from element `first`
// on, in pairs (0, R/2), (1, R/2 + 1), ... or, interleaved, (0, 1), (2, 3), ... In place on
// x [T, heads, D]; cos, sin [max_positions, R/2] float32 (float64 for float64 x); positions int64
// [T]. inverse: the transpose (backward).
void RopeInPlace(at::Tensor x, const at::Tensor& cos, const at::Tensor& sin,
                 const at::Tensor& positions, bool inverse, bool interleaved = false,
                 int64_t first = 0);

// Gated linear unit (Shazeer, arXiv:2002.05202), by its form activation(gate) * up. All [T, F].
at::Tensor GluForward(const at::Tensor& gate, const at::Tensor& up, const GluForm& form = {});
// Overwrites gate with d gate and up with d up. Returns h, as GluForward does, if with_hidden,
// else undefined (h is what the down projection's adapter and weight gradients need, so it is not
// saved).
at::Tensor GluBackwardInPlace(const at::Tensor& dhidden, at::Tensor gate, at::Tensor up,
                              bool with_hidden, const GluForm& form = {});

// x becomes cap tanh(x / cap).
void SoftCapInPlace(at::Tensor x, double cap);

// Inverted dropout with a mask that depends only on (key, stream, token_index[t], feature_offset +
// j): y[t, j] = keep ? x[t, j] / (1 - p) : 0. x [T, F_local], token_index int64 [T]. The element's
// index is token_index * features + feature_offset + j; its bits are word (index % 4) of Philox
// block (index / 4). The backward is the same call on dy.
struct DropoutKey {
  uint64_t key = 0;     // StepKey(seed, step)
  uint64_t stream = 0;  // StreamOfName(module)
};
at::Tensor Dropout(const at::Tensor& x, const at::Tensor& token_index, double p, DropoutKey key,
                   int64_t feature_offset, int64_t features);

// Cross entropy over a vocabulary slice, in two passes around one collective.
// logits [C, V_local], targets int64 [C] (global ids), rows [vocab_offset, vocab_offset + V_local)
// are local. Returns float32 (float64) [C, 3]: local max, sum exp(logit - local max), target's
// logit (0 if not local).
at::Tensor CrossEntropyStats(const at::Tensor& logits, const at::Tensor& targets,
                             int64_t vocab_offset);
// In place: logits[c, v] = (exp(logits[c, v] - lse[c]) - [v == target]) * coefficients[c]. lse and
// coefficients float32 (float64) [C]. Where logits are SoftCapInPlace's (soft_cap > 0): the
// gradient of what was capped.
void CrossEntropyBackwardInPlace(at::Tensor logits, const at::Tensor& lse,
                                 const at::Tensor& targets, int64_t vocab_offset,
                                 const at::Tensor& coefficients, double soft_cap = 0.0);

// accumulator (float32 / float64) += value (any float dtype), same shape.
void AccumulateInto(at::Tensor accumulator, const at::Tensor& value);

}  // namespace fttrain

// What passes between a decoder layer's Forward and Backward, and what both are told.
#pragma once

#include <vector>

#include "model/config/spec.h"
#include "model/kernels/attention.h"
#include "model/linears/linears.h"
#include "parallel/residency/activation_store.h"

namespace fttrain {

// Kept by Forward for Backward: per token H (input) + N D (q) + 2 K D (k, v) + N D (attention
// output) + N float32 (lse) + H (post-attention residual) + 2 F (gate, up), heads and F divided by
// tp, H rows by tp under sequence parallelism. Normed inputs and the SwiGLU product are recomputed.
// kSmart keeps 2 H, kFull H.
struct DecoderLayerSaved {
  at::Tensor input;     // [T/tp, H]
  at::Tensor residual;  // [T/tp, H] after attention; not with kFull
  // Only with kNone. [T, N/tp, D], [T, K/tp, D]: after rotary; with q/k norm, before norm and
  // rotary.
  at::Tensor q, k;
  at::Tensor v;                   // [T, K/tp, D]
  at::Tensor attention_out, lse;  // [T, N/tp, D], [N/tp, T]
  at::Tensor gate, up;            // [T, F/tp]
  // [T, H], inputs of the projections. Never kept: under sequence parallelism Backward recomputes
  // from them and needs them again for the gradients of parameters, without a second gather.
  at::Tensor attention_input, mlp_input;

  // All that only kNone keeps.
  void FreeInner() { q = k = v = attention_out = lse = gate = up = at::Tensor(); }
  // What Forward keeps, for an ActivationStore.
  std::vector<KeptTensor> Kept() {
    return {{"input", &input}, {"residual", &residual},           {"q", &q},     {"k", &k},
            {"v", &v},         {"attention_out", &attention_out}, {"lse", &lse}, {"gate", &gate},
            {"up", &up}};
  }
};

// Everything about one microbatch that layers need.
struct MicrobatchContext {
  SequenceLayout layout;
  DropoutContext dropout;
};

// cos and sin [max_positions, D/2] of the model's rope, float32 (float64 in float64 compute).
struct RopeTables {
  at::Tensor cos, sin;
};
RopeTables MakeRopeTables(const RopeSpec& rope, int64_t max_positions, at::ScalarType compute,
                          c10::Device device);

}  // namespace fttrain

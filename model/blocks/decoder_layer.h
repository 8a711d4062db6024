// One transformer decoder layer (Llama family): norm, attention, residual, norm, SwiGLU MLP,
// residual. Forward and Backward are a pair; what is kept between them is one named struct.
#pragma once

#include <utility>

#include "model/blocks/layer_activations.h"
#include "model/blocks/options.h"
#include "model/config/spec.h"
#include "parallel/layout/tensor_parallel.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

class DecoderLayer {
 public:
  // Of attention and an MLP. DeclareLayer has put the layer's parameters into `set`, which must
  // outlive this, as must `tp` and `ahead` (may be null; dequantises NF4 matrices).
  DecoderLayer(const LayerSpec& layer, const ModelOptions& options, Communicator& tp,
               const ParameterSet& set, Nf4Ahead* ahead = nullptr);

  // x [T/tp, H] -> [T/tp, H]. Collective over tp. `saved` may be null (evaluation).
  at::Tensor Forward(const at::Tensor& x, const MicrobatchContext& context, const RopeTables& rope,
                     DecoderLayerSaved* saved) const;
  // dy [T/tp, H] (move it in: it is freed as soon as possible) -> dx [T/tp, H]; adds to gradients;
  // consumes `saved` (gate and up are overwritten, all is freed). Collective over tp; what is made
  // again repeats its collectives, each block just before its own backward. need_dx false (frozen
  // embedding, first layer): returns an undefined tensor.
  at::Tensor Backward(at::Tensor dy, const MicrobatchContext& context, const RopeTables& rope,
                      DecoderLayerSaved& saved, bool need_dx) const;

  // From Hold to Release every NF4 matrix of the layer exists dequantised, for all Forward and
  // Backward calls between: worth it for more than one microbatch. Nothing for dense matrices.
  void HoldWeights();
  void ReleaseWeights();

 private:
  AttentionOptions Attention() const;
  // q and k as attention sees them, [T, heads, D], from what `saved` holds.
  std::pair<at::Tensor, at::Tensor> RotatedQueryKey(const DecoderLayerSaved& saved,
                                                    const MicrobatchContext& context,
                                                    const RopeTables& rope) const;
  // The blocks' inputs [T, H]: norm, then the gather. Of the MLP from the finished residual.
  at::Tensor AttentionInput(const at::Tensor& x) const;
  at::Tensor MlpInput(const at::Tensor& residual) const;
  // q, k, v, attention_out and lse, from attention's input; booked under `category`.
  void ForwardAttention(const at::Tensor& input, const MicrobatchContext& context,
                        const RopeTables& rope, MemoryCategory category,
                        DecoderLayerSaved& saved) const;
  // attention_out -> o_proj's reduced output [T/tp, H], before the residual.
  at::Tensor ForwardOutput(const at::Tensor& attention_out, const MicrobatchContext& context,
                           MemoryCategory category) const;
  // gate and up, from the MLP's input.
  void ForwardGateUp(const at::Tensor& input, const MicrobatchContext& context,
                     MemoryCategory category, DecoderLayerSaved& saved) const;
  // What is not there of what the block's backward reads.
  void RecomputeAttention(const MicrobatchContext& context, const RopeTables& rope,
                          DecoderLayerSaved& saved) const;
  void RecomputeMlp(const MicrobatchContext& context, const RopeTables& rope,
                    DecoderLayerSaved& saved) const;
  // A row-split linear and the reduce that ends its block.
  at::Tensor ForwardAndLeave(const Linears& linears, const at::Tensor& x,
                             const MicrobatchContext& context, MemoryCategory category) const;
  // dy [T/tp, H] -> gradient of the residual after attention, dy included.
  at::Tensor BackwardMlp(const at::Tensor& dy, const MicrobatchContext& context,
                         DecoderLayerSaved& saved) const;
  // Gradient of the residual -> gradients of q, k, v as the projections returned them, [T, heads *
  // D].
  AttentionGradients BackwardAttentionCore(const at::Tensor& dresidual,
                                           const MicrobatchContext& context, const RopeTables& rope,
                                           DecoderLayerSaved& saved) const;

  AttentionSpec spec_;
  double eps_;
  Recompute recompute_;
  Nf4Ahead* ahead_;
  SequenceRegion region_;
  Parameter* input_norm_;
  Parameter* post_norm_;
  Parameter* q_norm_ = nullptr;
  Parameter* k_norm_ = nullptr;
  Linears qkv_, o_, gate_up_, down_;
};

// Bytes that a layer keeps of a microbatch of `tokens` for Backward on one of tp ranks. With kNone
// at the shape of a 70B model in bfloat16, a token: 92 160 elements and 64 of float32 (lse).
int64_t KeptBytes(const LayerSpec& layer, const ModelOptions& options, int tp, int64_t tokens);

}  // namespace fttrain

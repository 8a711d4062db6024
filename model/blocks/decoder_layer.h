// One transformer decoder layer (Llama family): norm, attention, residual, norm, SwiGLU MLP,
// residual. Forward and Backward are a pair; what is kept between them is one named struct.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "model/blocks/layer_activations.h"
#include "model/config/spec.h"
#include "model/linears/linear_group.h"
#include "parallel/layout/tensor_parallel.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

// What a model is built with; the same on every rank.
struct ModelOptions {
  at::ScalarType compute = at::kFloat;  // kFloat, kBFloat16, kDouble
  bool train_base = false;              // full fine-tuning
  bool use_lora = false;
  LoraOptions lora;
  std::vector<std::string> target_modules;  // leaf names: q_proj, ...; only with use_lora
  bool sequence_parallel = true;
  int64_t loss_chunk_rows = 1024;  // rows of logits alive at a time
  Recompute recompute = Recompute::kNone;
  bool activations_on_host = false;  // what layers keep for backward: in an ActivationStore
  // Layers of every run of the model (network/runs.h), as many runs as the stages have chunks
  // together; a stage's chunks are acquired one at a time (executor.h). Empty: one run a stage,
  // balanced.
  std::vector<int> layers_per_run;
  // Whether weights lie at the same place all the time: what is read ahead may be kept by it.
  bool weights_stay = true;
  // QLoRA: the layers' matrices are stored as NF4, but for the modules (full names:
  // model.layers.0.mlp.gate_proj, lm_head) of nf4_dense, which stay in compute dtype.
  std::optional<Nf4Options> nf4;
  std::vector<std::string> nf4_dense;
  bool embedding_on_host = false;  // the frozen table stays in host memory, rows are gathered there
};

// How the matrix of a module (full name) is stored: options.nf4 unless nf4_dense names it.
std::optional<Nf4Options> Nf4OfModule(const ModelOptions& options, const std::string& name);

// Norms outside blocks see each rank's own rows with sequence parallelism (kPartial), else equal
// ones.
TpGradient NormGradient(const SequenceRegion& region);
// Declares an RMSNorm weight [size], trainable with the base, without weight decay.
Parameter* DeclareNorm(const NormSpec& spec, TpGradient gradient, const ModelOptions& options,
                       ParameterSet& set);

class DecoderLayer {
 public:
  // Declares the parameters of `layer`, attention and an MLP. `tp` decides the slices. Throws
  // c10::Error if units do not divide (CheckTensorParallel refuses earlier with a message for
  // users). `ahead` (may be null) dequantises NF4 matrices and must outlive this.
  DecoderLayer(const LayerSpec& layer, const ModelOptions& options, Communicator& tp,
               ParameterSet& set, Nf4Ahead* ahead = nullptr);

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
  at::Tensor ForwardAndLeave(const LocalLinear& linear, const at::Tensor& x,
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
  int64_t local_heads_, local_kv_heads_;
  SequenceRegion region_;
  Parameter* input_norm_;
  Parameter* post_norm_;
  Parameter* q_norm_ = nullptr;
  Parameter* k_norm_ = nullptr;
  std::unique_ptr<LocalLinear> q_, k_, v_, o_, gate_, up_, down_;
  std::optional<LinearGroup> qkv_, gate_up_;
};

// Bytes that a layer keeps of a microbatch of `tokens` for Backward on one of tp ranks. With kNone
// at the shape of a 70B model in bfloat16, a token: 92 160 elements and 64 of float32 (lse).
int64_t KeptBytes(const LayerSpec& layer, const ModelOptions& options, int tp, int64_t tokens);

}  // namespace fttrain

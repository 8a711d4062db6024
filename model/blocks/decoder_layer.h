// One decoder layer: for each of its blocks x += block(norm(x)), with norms behind blocks, factors
// and blocks side by side as BlockSpec says. Forward and Backward are a pair; what is kept between
// them are the blocks' named structs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/blocks/block.h"
#include "model/blocks/options.h"
#include "model/kernels/attention.h"
#include "parallel/residency/activation_store.h"

namespace fttrain {

// Kept by Forward for Backward: each block's input (with Recompute::kFull the first one's) and,
// where a norm is behind it, output (not with kFull, which then runs the layer's last linear
// again), and with kNone what its block made. Normed inputs are made again.
struct DecoderLayerSaved {
  std::vector<std::unique_ptr<BlockSaved>> blocks;
  // All of it, for an ActivationStore.
  std::vector<KeptTensor> Kept();
};

class DecoderLayer {
 public:
  // DeclareLayer has put the layer's parameters into `set`, which must outlive this, as must `tp`,
  // `ahead` (may be null; dequantises NF4 matrices) and `ep`: where `layer` is a rank's
  // PartOfExperts, those who have the other parts; else null.
  DecoderLayer(const LayerSpec& layer, const ModelOptions& options, Communicator& tp,
               const ParameterSet& set, Nf4Ahead* ahead = nullptr, Communicator* ep = nullptr);

  // x [T/tp, H] -> [T/tp, H]. Collective over tp and, of one with experts, along ep. `saved` may be
  // null (evaluation).
  at::Tensor Forward(const at::Tensor& x, const MicrobatchContext& context, const RopeTables& ropes,
                     DecoderLayerSaved* saved) const;
  // dy [T/tp, H] (move it in: it is freed as soon as possible) -> dx [T/tp, H]; adds to gradients;
  // consumes `saved` (tensors in it are overwritten, all is freed). Collective as Forward; what is
  // made again repeats its collectives, each block just before its own backward. need_dx false
  // (frozen embedding, first layer): returns an undefined tensor.
  at::Tensor Backward(at::Tensor dy, const MicrobatchContext& context, const RopeTables& rope,
                      DecoderLayerSaved& saved, bool need_dx) const;

  // From true to false every NF4 matrix of the layer exists dequantised, for all Forward and
  // Backward calls between: worth it for more than one microbatch. Nothing for dense matrices.
  void HoldWeights(bool hold);
  // The same of copies of the adapters' factors (Linears::HoldFactors): worth it for a forward and
  // its backward.
  void HoldFactors(bool hold);

 private:
  struct Norms {
    Parameter *before, *after;  // null without one
  };
  // The first of the blocks that read the same input as block i.
  size_t First(size_t i) const;
  // The input [T, H] of block i, of which First(i) is i: of `stream` with `delta`, if defined,
  // added to it, which becomes the stream.
  at::Tensor Input(size_t i, at::Tensor& stream, at::Tensor delta) const;
  // The same of what is saved, made again.
  at::Tensor InputAgain(size_t i, const DecoderLayerSaved& saved) const;
  // What block i adds to the stream, booked under `category`. Keeps its output, under `output`, if
  // a norm is behind it.
  at::Tensor Delta(size_t i, const BlockContext& context, MemoryCategory category,
                   MemoryCategory output, BlockSaved& mine, bool last_use) const;
  // What is not there of what the backward of block i reads.
  void MakeInner(size_t i, const BlockContext& context, DecoderLayerSaved& saved) const;
  // The same from what the blocks before it made, whose stream becomes the block's saved input.
  at::Tensor InputFromBefore(size_t i, const BlockContext& context, DecoderLayerSaved& saved) const;
  // dy through what is behind block i.
  at::Tensor OutputGradient(size_t i, const at::Tensor& dy, const BlockContext& context,
                            BlockSaved& mine) const;
  // dx of the blocks that read the input of block i, which is theirs, and dy beside them -> the
  // stream's gradient.
  at::Tensor InputGradient(size_t i, at::Tensor dx, const at::Tensor& dy,
                           const BlockSaved& mine) const;

  LayerSpec spec_;
  Recompute recompute_;
  at::ScalarType compute_;
  Nf4Ahead* ahead_;
  SequenceRegion region_;
  std::vector<Norms> norms_;
  std::vector<std::unique_ptr<Block>> blocks_;  // as in spec_
};

// Bytes that a layer keeps of a microbatch of `tokens` for Backward on one of tp ranks; of a
// PartOfExperts what it keeps at most (MoeSaved). With kNone
// at the shape of a 70B model in bfloat16, a token: 92 160 elements and 64 of float32 (lse).
int64_t KeptBytes(const LayerSpec& layer, const ModelOptions& options, int tp, int64_t tokens);
// Of the layer that keeps most.
int64_t MostKeptBytes(const std::vector<LayerSpec>& layers, const ModelOptions& options, int tp,
                      int64_t tokens);
// Bytes that a layer's attention takes in work on a GPU, of latents with the heads that are made of
// them, on one of tp ranks. `microbatch`: its tokens and documents alone. The rest as
// CudaAttentionWorkspace.
int64_t AttentionWorkspace(const LayerSpec& layer, at::ScalarType compute, int tp,
                           AttentionShape microbatch, bool deterministic);
// Which layers' attention a GPU computes by plain products, and why: "2 of 4 layers by plain
// products, ..."; empty where flash attention takes all.
std::string PlainAttention(const std::vector<LayerSpec>& layers, at::ScalarType compute);
// Which layers' heads are padded to one size for attention (PaddedHeadDim); empty where none are.
std::string PaddedAttention(const std::vector<LayerSpec>& layers);
// Which layers' attention has sinks, and how a GPU computes them where flash attention takes the
// rest; empty without any.
std::string SinkAttention(const std::vector<LayerSpec>& layers);
// Bytes of the copies of a layer's adapters that HoldFactors makes on such a device, on tp rank 0.
int64_t FactorCopyBytes(const LayerSpec& layer, const ModelOptions& options, int tp,
                        c10::Device device);

}  // namespace fttrain

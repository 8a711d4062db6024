// Multi-head latent attention as a block (DeepSeek-V2, arXiv:2405.04434, sec. 2.1; transformers'
// DeepseekV3Attention): latents of queries and of keys and values, from which heads are expanded
// and attend as any others do. Heads are split over the tp axis; the latents are whole on every
// rank, made from whole rows of x, so a rank's gradients of them are of its own heads: a part,
// which the block's one reduce sums as it does those of x, and the parameters' sums those of
// weights.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "model/blocks/attention.h"

namespace fttrain {

// A token: N (2 V + 2 nope + rope) elements and N statistics, heads divided by tp; and the latents
// and the key part that all heads share. The expanded keys are made again.
struct LatentAttentionSaved : BlockSaved {
  LatentAttentionSaved(const LatentAttentionSpec& spec, TensorRank tp, at::ScalarType compute);
  std::vector<SavedTensor> Inner(int64_t tokens) override;

  at::Tensor q;                   // [T, N/tp, nope + rope], after rotary
  at::Tensor kv;                  // [T, N/tp, nope + V]
  at::Tensor k_rope;              // [T, 1, rope], after rotary
  at::Tensor kv_latent;           // [T, latent], before its norm
  at::Tensor q_latent;            // the same of queries, if they have one
  at::Tensor attention_out, lse;  // [T, N/tp, V], [N/tp, T] float32 (float64)

 private:
  int64_t heads_;  // of this rank
  int64_t qk_dim_, kv_dim_, rope_dim_, v_dim_, kv_rank_, q_rank_;
  at::ScalarType compute_;
};

// What q, k and v are made to have for attention, which knows one head dimension, and on a GPU a
// multiple of 8: zeros are put behind the shorter ones, which change neither scores nor results.
int64_t PaddedHeadDim(const LatentAttentionSpec& spec);

class LatentAttentionBlock : public Block {
 public:
  LatentAttentionBlock(const LatentAttentionSpec& spec, const BlockSetup& setup);
  void ForwardInner(const at::Tensor& x, const BlockContext& context, MemoryCategory category,
                    BlockSaved& saved) const override;
  at::Tensor ForwardOutput(const BlockContext& context, MemoryCategory category, BlockSaved& saved,
                           bool last_use) const override;
  at::Tensor Backward(const at::Tensor& dy, const BlockContext& context, const MakeInput& x,
                      BlockSaved& saved, bool need_dx) const override;
  bool NeedsInput() const override { return first_.HasTrainable(); }
  std::vector<Linears*> InOrder() override;

 private:
  // A latent's norm and what is expanded from it.
  struct Expansion {
    NormForm form;
    Parameter* norm;
    Linears linears;
    // latent [T, rank] -> [T, out].
    at::Tensor Forward(const at::Tensor& latent, const BlockContext& context,
                       MemoryCategory category) const;
    // d out -> d latent; adds to the parameters' gradients.
    at::Tensor Backward(const at::Tensor& dout, const at::Tensor& latent,
                        const BlockContext& context) const;
  };
  AttentionOptions Options() const { return {.scale = spec_.scale}; }
  const RopeTable& Table(const BlockContext& context) const {
    return context.ropes.at(static_cast<size_t>(spec_.rope));
  }
  // What x gives of queries, and of keys and values, into `saved`.
  void Project(const at::Tensor& x, const BlockContext& context, MemoryCategory category,
               LatentAttentionSaved& saved) const;
  // q, k and v as attention sees them, [T, N/tp, PaddedHeadDim].
  struct Heads {
    at::Tensor q, k, v;
  };
  Heads Expanded(const LatentAttentionSaved& saved) const;
  // [T, N/tp, from] -> [T, N/tp, to], with zeros behind, or without what is behind.
  static at::Tensor Resized(const at::Tensor& heads, int64_t to);
  // dy -> gradients of q and kv as their linears gave them, [T, out], and of the shared key part as
  // kv_a gave it, [T, rope].
  struct Gradients {
    at::Tensor dq, dkv, dk_rope;
  };
  Gradients BackwardCore(const at::Tensor& dy, const BlockContext& context,
                         const LatentAttentionSaved& saved) const;

  LatentAttentionSpec spec_;
  int64_t heads_;  // of this rank
  int64_t padded_dim_;
  Linears first_;  // q_a or q, and kv_a: they read x
  std::optional<Expansion> q_;
  Expansion kv_;
  Linears o_;
};

}  // namespace fttrain

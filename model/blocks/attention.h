// Attention as a block: q, k and v projections, norms of heads, rotary embedding, attention, output
// projection. Heads are split over the tp axis (Megatron-LM, arXiv:1909.08053, sec. 3).
#pragma once

#include <string>
#include <utility>

#include "model/blocks/block.h"
#include "model/blocks/query_key_norm.h"
#include "model/kernels/attention.h"

namespace fttrain {

// In place on x [T, heads, D], of which it turns what begins at element `first`.
void RotateHeads(const at::Tensor& x, const RopeTable& table, const SequenceLayout& layout,
                 bool inverse, int64_t first = 0);
// What documents whose caches are given see of `layer`, a name of its own, the tokens of this
// forward appended: q [T, N, D], k and v [T, K, D] -> [T, N, D].
at::Tensor AttendCached(const std::string& layer, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const MicrobatchContext& batch,
                        const AttentionOptions& options);

// A token: 2 (N + K) D elements and N statistics, heads divided by tp; with norms over all heads of
// several ranks 2 more.
struct AttentionSaved : BlockSaved {
  AttentionSaved(const AttentionSpec& spec, TensorRank tp, at::ScalarType compute);
  std::vector<SavedTensor> Inner(int64_t tokens) override;

  // [T, N/tp, D], [T, K/tp, D]: after rotary; with norms of q and k, before norm and rotary.
  at::Tensor q, k;
  at::Tensor v;                   // [T, K/tp, D]
  at::Tensor attention_out, lse;  // [T, N/tp, D], [N/tp, T] float32 (float64)
  at::Tensor rstd;                // QueryKeyNorm::Statistics, if there are any

 private:
  int64_t heads_, kv_heads_, head_dim_;  // of this rank
  bool statistics_;
  at::ScalarType compute_;
};

class AttentionBlock : public Block {
 public:
  AttentionBlock(const AttentionSpec& spec, const BlockSetup& setup);
  void ForwardInner(const at::Tensor& x, const BlockContext& context, MemoryCategory category,
                    BlockSaved& saved) const override;
  at::Tensor ForwardOutput(const BlockContext& context, MemoryCategory category, BlockSaved& saved,
                           bool last_use) const override;
  at::Tensor Backward(const at::Tensor& dy, const BlockContext& context, const MakeInput& x,
                      BlockSaved& saved, bool need_dx) const override;
  bool NeedsInput() const override { return qkv_.HasTrainable(); }
  std::vector<Linears*> InOrder() override { return {&qkv_, &o_}; }

 private:
  AttentionOptions Options() const;
  void Rotate(const at::Tensor& q, const at::Tensor& k, const BlockContext& context,
              bool inverse) const;
  // q and k as attention sees them, [T, heads, D], from what `saved` holds.
  std::pair<at::Tensor, at::Tensor> RotatedQueryKey(const AttentionSaved& saved,
                                                    const BlockContext& context) const;
  // dy -> gradients of q, k, v as the projections returned them, [T, heads * D].
  std::vector<at::Tensor> BackwardCore(const at::Tensor& dy, const BlockContext& context,
                                       const AttentionSaved& saved) const;

  AttentionSpec spec_;
  Linears qkv_, o_;
  QueryKeyNorm norm_;
  Parameter* sinks_;  // null without them
};

}  // namespace fttrain

// Gated feed-forward (SwiGLU, GeGLU) as a block, its columns split over the tp axis (Megatron-LM,
// arXiv:1909.08053, sec. 3).
#pragma once

#include "model/blocks/block.h"

namespace fttrain {

// A token: 2 F elements, divided by tp. Their product is made again.
struct MlpSaved : BlockSaved {
  MlpSaved(const MlpSpec& spec, TensorRank tp, at::ScalarType compute)
      : width_(SliceOf(spec.gate, tp).range.extent), compute_(compute) {}
  std::vector<SavedTensor> Inner(int64_t tokens) override {
    return {{"gate", &gate, {tokens, width_}, compute_}, {"up", &up, {tokens, width_}, compute_}};
  }

  at::Tensor gate, up;  // [T, F/tp]

 private:
  int64_t width_;
  at::ScalarType compute_;
};

class MlpBlock : public Block {
 public:
  MlpBlock(const MlpSpec& spec, const BlockSetup& setup)
      : Block(setup),
        activation_(spec.activation),
        gate_up_(setup.Make({spec.gate, spec.up})),
        down_(setup.Make({spec.down})) {}
  void ForwardInner(const at::Tensor& x, const BlockContext& context, MemoryCategory category,
                    BlockSaved& saved) const override;
  at::Tensor ForwardOutput(const BlockContext& context, MemoryCategory category, BlockSaved& saved,
                           bool last_use) const override;
  // gate and up are overwritten by their gradients.
  at::Tensor Backward(const at::Tensor& dy, const BlockContext& context, const MakeInput& x,
                      BlockSaved& saved, bool need_dx) const override;
  bool NeedsInput() const override { return gate_up_.HasTrainable(); }
  std::vector<Linears*> InOrder() override { return {&gate_up_, &down_}; }

 private:
  GluForm activation_;
  Linears gate_up_, down_;
};

}  // namespace fttrain

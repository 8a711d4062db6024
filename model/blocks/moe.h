// A mixture of experts as a block: tokens are sorted by expert, and each expert is a gated
// feed-forward (mlp.h) over its rows alone, one product for each of its matrices; none is dropped.
// Each expert's matrices are split over the tp axis as those of an MLP are; the router (router.h)
// is whole on every rank. The experts may be divided over ranks (expert_rows.h): tokens then go to
// their experts' ranks with their shares, what an expert made comes back, and gradients go the same
// ways. Where experts are trained a backward sends their input once more: keeping it would cost as
// much as gate and up.
//
// The gradient of a share is <dy, what the expert made>, which is <dh, h> of the product h before
// the down projection: no product more. As each rank has a part of h, it has a part of that
// gradient, and of the router's and its input's, which sums with the experts' input gradients. A
// down projection's bias counts with the row's share, on the rank that adds it; so does what it
// adds to the gradient of the share.
#pragma once

#include "model/blocks/block.h"
#include "model/blocks/expert_rows.h"
#include "model/blocks/router.h"

namespace fttrain {

// The most rows that can come to the experts of `spec` (all of a layer or a rank's part), `tokens`
// on every rank that has others: T K where they are not divided, else ep min(K, E/ep) T.
int64_t MostRows(const MoeSpec& spec, int64_t tokens);

// A token: 2 K F elements, divided by tp, of the K experts that it has; E probabilities and 2 K
// indices. Where ranks divide the experts, those of the R rows that came, and a share each. How
// many come is known when they have: before that Inner has MostRows; K T come on average.
struct MoeSaved : BlockSaved {
  MoeSaved(const MoeSpec& spec, TensorRank tp, at::ScalarType compute);
  std::vector<SavedTensor> Inner(int64_t tokens) override;

  at::Tensor gate, up;  // [R, F/tp], sorted by expert; R = T K where this rank has all experts
  at::Tensor shares;    // [R], as they came, in compute dtype; only where experts are divided
  int64_t rows = -1;    // R; below 0: not known
  Routes routes;

 private:
  int64_t experts_, top_k_;
  bool divided_;
  int64_t most_of_token_, width_;
  at::ScalarType compute_;
};

class MoeBlock : public Block {
 public:
  MoeBlock(const MoeSpec& spec, const BlockSetup& setup);
  void ForwardInner(const at::Tensor& x, const BlockContext& context, MemoryCategory category,
                    BlockSaved& saved) const override;
  at::Tensor ForwardOutput(const BlockContext& context, MemoryCategory category, BlockSaved& saved,
                           bool last_use) const override;
  // gate and up are overwritten by their gradients.
  at::Tensor Backward(const at::Tensor& dy, const BlockContext& context, const MakeInput& x,
                      BlockSaved& saved, bool need_dx) const override;
  bool NeedsInput() const override;
  std::vector<Linears*> InOrder() override;

 private:
  struct Expert {
    Linears gate_up, down;
  };
  // dy of a batch's rows -> the gradients of their shares. gate and up become their gradients.
  at::Tensor BackwardDown(const ExpertRows::Batch& batch, const at::Tensor& dy,
                          const at::Tensor& shares, const at::Tensor& gate,
                          const at::Tensor& up) const;
  // Those gradients -> dx of the rows (undefined unless needed). `x`: of the rows, where something
  // is trained.
  at::Tensor BackwardGateUp(const ExpertRows::Batch& batch, const std::vector<at::Tensor>& dgate_up,
                            const at::Tensor& x, bool need_dx) const;

  // The shares of ExpertRows::SendPlaces, in compute dtype.
  at::Tensor SharesOf(const MoeSaved& saved) const;

  GluForm activation_;
  int64_t hidden_size_;
  at::ScalarType compute_;
  Communicator* ep_;  // null where this rank has all experts
  Router router_;
  std::vector<Expert> experts_;
};

}  // namespace fttrain

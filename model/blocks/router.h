// The router of a mixture of experts: which experts take a token, and with which share. All of it
// is computed in float32 (float64), whatever the model computes in: a rounded score would be
// another choice. Every tp rank has all rows and computes the same.
#pragma once

#include <utility>
#include <vector>

#include "model/blocks/block.h"

namespace fttrain {

// Of T tokens, K experts each.
struct Routes {
  at::Tensor probabilities;  // [T, E], softmax over all experts, or each one's sigmoid
  // int64 [T, K]: a token's experts as torch.topk gives them, which decides between equal ones.
  at::Tensor experts;
  // int64 [T K]: the places of `experts`, row by row, sorted by expert; of one by token.
  at::Tensor order;
  // [E], on the host: expert e has the places [ends[e - 1], ends[e]) of `order`.
  std::vector<int64_t> ends = {};
  // Where ranks divide the experts, on the host: how many rows each rank, along ep, has for each of
  // this rank's experts, [ep, E/ep]; else empty.
  std::vector<int64_t> received = {};
  // The token of each place of `order`.
  at::Tensor Tokens() const;
};

class Router {
 public:
  Router(const MoeSpec& spec, const BlockSetup& setup);
  bool trainable() const { return weight_->trainable; }

  // x [T, H], whole rows; the tensors are booked under `category`. The host waits for the device,
  // once: how many rows each expert has decides what comes next. Where ranks divide the experts
  // they tell each other before, in one all_to_all of E numbers, so that the wait is for the
  // slowest of them; collective along ep. In a rehearsal, where no value is known, the first K
  // experts have all tokens: no expert can have more. Where experts are divided those are this
  // rank's, as many as there are, and each other rank sends it the same of a full microbatch
  // (ModelOptions): the most that can come, min(K, E/ep) rows for each token of all ranks.
  Routes Choose(const at::Tensor& x, MemoryCategory category) const;
  // The share of each place of `order`, [T K]: the expert's probability, divided by the sum of the
  // token's if the model does that, times the model's scale.
  at::Tensor Shares(const Routes& routes) const;
  // Gradients of the shares, in that order, -> of the scores before softmax or sigmoid, [T, E].
  // Linear: of a part of the gradients the part.
  at::Tensor BackwardShares(const at::Tensor& dshares, const Routes& routes) const;
  // -> dx [T, H], in compute dtype.
  at::Tensor BackwardInput(const at::Tensor& dscores) const;
  // Adds to the gradients of weight and bias. x as given to Choose.
  void BackwardParams(const at::Tensor& dscores, const at::Tensor& x) const;

 private:
  // The probabilities of a token's experts and their sum, [T, K] and [T, 1].
  std::pair<at::Tensor, at::Tensor> Chosen(const Routes& routes) const;
  // What the choice is made by: the corrected probabilities, -inf beyond the best groups.
  at::Tensor ForChoice(const at::Tensor& probabilities) const;
  // Sets ends and received.
  void Count(const at::Tensor& sorted_experts, int64_t tokens, Routes& routes) const;
  void Imagine(int64_t tokens, Routes& routes) const;
  at::Tensor Weight() const;  // [E, H] in dtype_

  int64_t experts_, top_k_, groups_, top_groups_, group_best_;
  int64_t microbatch_tokens_;
  bool renormalize_, sigmoid_;
  double scale_;
  at::ScalarType compute_, dtype_;
  Communicator* ep_;  // null where this rank has all experts
  Parameter* weight_;
  Parameter *bias_, *correction_;  // may be null
};

}  // namespace fttrain

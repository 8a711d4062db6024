// The loss that has routers spread tokens over experts (Fedus et al., Switch Transformers,
// arXiv:2101.03961, sec. 2.2), of one microbatch, as transformers has it: over all layers with
// experts of the model together. Of T tokens, L such layers and E experts
//   f[e] = how often e was chosen / (L T),  P[e] = sum of e's probabilities / (L T)
//   loss = E sum_e f[e] P[e]
// f counts choices: gradients go through P alone, to every router's scores.
//
// A layer adds to two sums of E in its forward; with those of all layers its backward knows f. So
// the sums are handed on with activations, from a run of layers to the next, and handed back with
// gradients.
#pragma once

#include "model/blocks/router.h"

namespace fttrain {

// Of a model's layers with experts; 0 without any.
struct RoutersShape {
  int64_t experts = 0, layers = 0;
  // Throws c10::Error where layers differ in the number of their experts.
  static RoutersShape Of(const ModelSpec& model);
};

// Nothing here makes the host wait for the device. What it holds, from Begin to End, is booked as
// kSaved.
class RouterBalance {
 public:
  // The microbatch's first `tokens` rows are its tokens: what pads it behind them counts nowhere.
  // `scale`: the coefficient over the tokens of the step, by whose share a microbatch's loss
  // counts.
  RouterBalance(const RoutersShape& routers, int64_t tokens, double scale);

  // Forward. Before the model's first run of layers.
  void Begin(c10::Device device);
  // Before another one: what ContinueWith is given are the sums of the runs before it, float64 [2,
  // E]: how often each expert was chosen, and of its probabilities.
  void ContinueWith(at::Tensor sums) { sums_ = std::move(sums); }
  const at::Tensor& sums() const { return sums_; }
  static int64_t NumSums(const RoutersShape& routers) { return 2 * routers.experts; }
  int64_t num_sums() const { return NumSums(routers_); }
  // Adds a layer's. Nothing from BeginBackward on: what runs then runs again.
  void Add(const Routes& routes);
  // T times the loss, a float64 scalar booked as kWorkspace, where all layers were added.
  at::Tensor LossOfTokens() const;

  // Backward. The sums are those of all layers.
  void BeginBackward();
  // Adds the step's gradient by a layer's scores to dscores [rows, E].
  void AddGradient(const Routes& routes, const at::Tensor& dscores) const;
  // After the last layer of this rank.
  void End();

 private:
  // Of a product of both sums, as LossOfTokens has it.
  double Factor() const;

  RoutersShape routers_;
  int64_t tokens_;
  double scale_;
  at::Tensor sums_;    // float64 [2, E]
  at::Tensor slopes_;  // float64 [E], by each probability; defined from BeginBackward on
};

}  // namespace fttrain

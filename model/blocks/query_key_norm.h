// Norms of queries and keys before rotary: over each head (Qwen3, Gemma 3), or over all heads
// together (OLMo 2), whose squares tensor-parallel ranks then sum.
#pragma once

#include <utility>

#include "model/blocks/block.h"

namespace fttrain {

class QueryKeyNorm {
 public:
  // Without norms in `spec`: absent. The rest is not called then.
  QueryKeyNorm(const AttentionSpec& spec, const BlockSetup& setup);
  bool exists() const { return q_.weight != nullptr; }

  // Whether Statistics gives any: norms over all heads of several ranks.
  static bool HasStatistics(const AttentionSpec& spec, TensorRank tp);
  // 1 / root mean square of each token's q and k [T, 2], float32 (float64), over all ranks' heads;
  // undefined where a rank sees whole norms. Collective over tp if they are made.
  at::Tensor Statistics(const at::Tensor& q, const at::Tensor& k) const;

  using Pair = std::pair<at::Tensor, at::Tensor>;
  // q [T, N/tp, D], k [T, K/tp, D] -> the same, normed.
  Pair Forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& statistics) const;
  // Gradients of what Forward gave -> of what it got; adds to the weights'. Collective over tp with
  // statistics.
  Pair Backward(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& q,
                const at::Tensor& k, const at::Tensor& statistics) const;

 private:
  struct Side {
    NormForm form;
    Parameter* weight = nullptr;
    double all = 0;  // elements over which ranks sum, each rank's counted
  };
  at::Tensor ForwardOf(const Side& side, const at::Tensor& x, const at::Tensor& rstd) const;
  // Of x's rows with their own statistics.
  at::Tensor BackwardOf(const Side& side, const at::Tensor& dy, const at::Tensor& x) const;

  Communicator* tp_;
  bool over_all_ = false;  // of all heads together
  bool summed_ = false;    // over ranks
  Side q_, k_;
};

}  // namespace fttrain

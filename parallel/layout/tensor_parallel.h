// The two ends of a tensor-parallel block (Megatron-LM, arXiv:1909.08053 sec. 3; sequence
// parallelism: arXiv:2205.05198 sec. 4.2). Outside blocks an activation is [T/tp, H] with sequence
// parallelism (rank r holds rows [r * T/tp, (r+1) * T/tp)), else [T, H] replicated.
#pragma once

#include "runtime/comm/communicator.h"

namespace fttrain {

// Collective: all tp ranks call in the same order. T must be divisible by tp with sequence
// parallelism (callers pad the microbatch). The backward of Enter is Leave, the backward of Leave
// is Enter.
class SequenceRegion {
 public:
  SequenceRegion(Communicator& tp, bool sequence_parallel)
      : tp_(&tp), sequence_parallel_(sequence_parallel && tp.size() > 1) {}
  bool sequence_parallel() const { return sequence_parallel_; }
  Communicator& tp() const { return *tp_; }

  // local [T/tp, H] -> [T, H] (all_gather), or the argument itself without sequence parallelism.
  at::Tensor Enter(const at::Tensor& local) const;
  // partial sum [T, H] -> [T/tp, H] (reduce_scatter) or [T, H] (all_reduce, may reuse the
  // argument).
  at::Tensor Leave(at::Tensor partial) const;

 private:
  Communicator* tp_;
  bool sequence_parallel_;
};

}  // namespace fttrain

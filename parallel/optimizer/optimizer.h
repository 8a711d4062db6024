// AdamW (Loshchilov & Hutter, arXiv:1711.05101; torch.optim.AdamW's arithmetic) over flat buffers,
// with state, gradients and values sharded over dp as the ZeRO stage says (Rajbhandari et al.,
// arXiv:1910.02054 sec. 5).
#pragma once

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "parallel/optimizer/state.h"
#include "parallel/storage/parameter_store.h"

namespace fttrain {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  // Where moments and masters are; on the host the update runs there. No effect on results on a
  // CPU.
  StatePlace state_place = StatePlace::kDevice;
};

class Optimizer {
 public:
  // Allocates state for the trainable parameters of `store`, which must outlive the optimizer,
  // booked under kOptimizer: exp_avg and exp_avg_sq in the gradient's dtype (in 8 bits, with
  // StorageOptions::moments, 2 + 8 / 256 bytes per element together), and a float32 master where
  // values are bfloat16 or state is on the host, of the owned range only (ParameterStore::Owned).
  // Call MastersFromParameters() after weights are loaded.
  Optimizer(ParameterStore& store, const AdamWOptions& options);
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // float32 masters of parameters in lower precision, from their current values. After loading
  // weights.
  void MastersFromParameters();
  // The parameters' values from masters that VisitState has changed. Collective over dp.
  void ParametersFromMasters();
  // Before the first backward of a step.
  void ZeroGradients();
  // Once per step, after the last backward: what is left to do of ParameterStore's sums. Collective
  // over tp and dp, then pp: sums kPartial and kShared gradients over tp, everything over dp, and
  // what both ends of a pipeline hold over the ends. No averaging: the loss is already scaled by
  // the global target count. Afterwards gradients are final in the owned range only, the rest of
  // the buffers is undefined.
  void SyncGradients();
  // L2 norm of the whole model's gradient before clipping, each parameter counted once however it
  // is replicated, summed in float64 in a fixed order. Collective over tp, pp and dp. After
  // SyncGradients.
  double GradientNorm();
  // One AdamW update of the owned range with gradients multiplied by grad_scale, then all-gather of
  // parameters over dp under ZeRO 1 and 2. `step` counts from 0. Collective over dp.
  void Step(int64_t step, double learning_rate, double grad_scale);

  // All that training goes on from, but the number of steps, as views that may be read or written
  // (ParametersFromMasters follows): for each trainable parameter the part of this rank's slice that
  // it owns, once for each kind of state that it has.
  // Over the dp ranks every element of a slice is visited once; under ZeRO 0 once on each of them.
  // Returns the first error of `visit`, after which nothing is visited. Not collective.
  absl::Status VisitState(absl::FunctionRef<absl::Status(const StatePiece&)> visit);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// min(1, max_norm / (norm + 1e-6)); 1 if max_norm is 0 (off).
double ClipCoefficient(double norm, double max_norm);

}  // namespace fttrain

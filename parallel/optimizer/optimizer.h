// AdamW (Loshchilov & Hutter, arXiv:1711.05101; torch.optim.AdamW's arithmetic) over flat buffers,
// with state, gradients and values sharded over dp as the ZeRO stage says (Rajbhandari et al.,
// arXiv:1910.02054 sec. 5).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel/layout/mesh.h"
#include "parallel/layout/param.h"
#include "parallel/optimizer/state.h"
#include "parallel/storage/flat_parameters.h"
#include "parallel/storage/parameter_store.h"

namespace fttrain {

struct OptimizerOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  // 0: every dp rank holds all state, gradients are all-reduced. 1: state is sharded, gradients
  // reduce-scattered, parameters all-gathered. 2: gradients are kept sharded too. 3: so are values.
  int zero_stage = 1;
  // kInt8: AdamW with 8-bit blockwise moments (adamw_int8.h) for tensors of 4096 elements or more.
  // Blocks of 256 elements begin where the rank's slice of a parameter begins and never straddle
  // parameters or shards, so equal gradients give equal bits whatever dp and zero_stage, and
  // whatever tp, where what is contiguous of a slice in the whole tensor is a multiple of 256
  // elements. Gradients that differ in their last bits (sums in another order) may differ by a
  // code.
  MomentStorage moments = MomentStorage::kGradientDtype;
  // Where moments and masters are; on the host the update runs there. No effect on results on a
  // CPU.
  StatePlace state_place = StatePlace::kDevice;
  // Where frozen parameters are (StorageOptions).
  FrozenPlace frozen = FrozenPlace::kDevice;
  std::string disk_folder = {};
};

class Optimizer {
 public:
  // Allocates parameter, gradient (ParameterStore) and optimizer storage; the latter is booked
  // under kOptimizer: exp_avg and exp_avg_sq in the gradient's dtype (in 8 bits 2 + 8 / 256 bytes
  // per element together), and a float32 master where values are bfloat16 or state is on the host,
  // of the owned range only (everything, or from ZeRO 1 on 1/dp). `set` and `mesh` must outlive the
  // optimizer; call before weights are loaded, then MastersFromParameters() after. Same set, in the
  // same order, on all dp ranks. Throws c10::Error for what ParameterStore refuses, and for
  // float64 beside kInt8.
  Optimizer(ParameterSet& set, const Mesh& mesh, c10::Device device,
            const OptimizerOptions& options);
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // The storage of values and gradients: under ZeRO 2 and 3, or with frozen parameters elsewhere,
  // whoever runs forward or backward, or reads and writes values, acquires them there.
  ParameterStore& groups();

  // float32 masters of parameters in lower precision, from their current values. After loading
  // weights.
  void MastersFromParameters();
  void ZeroGradients();
  // Once per step, after the last backward; under ZeRO 2 and 3 what is left to do of it. Collective
  // over tp, then pp, then dp: sums kPartial and kShared gradients over tp, those held on both ends
  // of a pipeline over the ends, everything over dp. No averaging: the loss is already scaled by
  // the global target count. Afterwards gradients are final in the owned range only, the rest of
  // the buffers is undefined.
  void SyncGradients();
  // L2 norm of the whole model's gradient before clipping, each parameter counted once however it
  // is replicated, summed in float64 in a fixed order. Collective over tp, pp and dp. After
  // SyncGradients.
  double GradientNorm();
  // One AdamW update (step count starts at 1) of the owned range with gradients multiplied by
  // grad_scale (which may overwrite them), then all-gather of parameters over dp under ZeRO 1 and
  // 2. Collective over dp.
  void Step(double learning_rate, double grad_scale);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// min(1, max_norm / (norm + 1e-6)); 1 if max_norm is 0 (off).
double ClipCoefficient(double norm, double max_norm);

}  // namespace fttrain

#include "parallel/optimizer/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "parallel/optimizer/adamw_int8.h"
#include "parallel/optimizer/state.h"
#include "parallel/optimizer/sum_of_squares.h"
#include "parallel/storage/both_ends.h"
#include "parallel/storage/flat_parameters.h"
#include "parallel/storage/gradient_sums.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

// Under ZeRO 1 the sum comes back into the owned range of the buffer that held this rank's own
// gradients, so what is alive afterwards is that buffer alone.
void SumOverDp(const OwnedState& state, Communicator& dp, int zero_stage) {
  if (dp.size() == 1) return;
  if (zero_stage == 0) {
    dp.AllReduce(state.flat().gradients);
    return;
  }
  MemoryScope scope(MemoryCategory::kCommunication);
  const at::Tensor shard = at::empty({state.owned().size()}, state.flat().gradients.options());
  dp.ReduceScatter(state.flat().gradients, shard);
  state.Gradients().copy_(shard);
}

StorageOptions StorageOf(const OptimizerOptions& options) {
  return {.zero_stage = options.zero_stage,
          .moments = options.moments,
          .frozen = options.frozen,
          .disk_folder = options.disk_folder};
}

}  // namespace

struct Optimizer::State {
  const Mesh& mesh;
  OptimizerOptions options;
  c10::Device device;
  ParameterStore groups;
  std::vector<OwnedState> owned;
  at::Tensor int8_tables;  // undefined without 8-bit moments
  int64_t steps = 0;
};

Optimizer::Optimizer(ParameterSet& set, const Mesh& mesh, c10::Device device,
                     const OptimizerOptions& options)
    : state_(new State{.mesh = mesh,
                       .options = options,
                       .device = device,
                       .groups = {set, mesh, device, StorageOf(options)},
                       .owned = {},
                       .int8_tables = {}}) {
  const Communicator& dp = mesh.dp();
  for (const FlatBuffer& flat : state_->groups.buffers()) {
    const FlatRange owned =
        options.zero_stage > 0 ? flat.Shard(dp.size(), dp.rank()) : FlatRange{0, flat.numel()};
    state_->owned.emplace_back(flat, owned, options.state_place);
  }
  if (options.moments == MomentStorage::kInt8) {
    MemoryScope scope(MemoryCategory::kWorkspace);
    const bool on_host = options.state_place == StatePlace::kHost;
    state_->int8_tables = MakeInt8Tables(on_host ? c10::Device(c10::kCPU) : device);
  }
}

Optimizer::~Optimizer() = default;

ParameterStore& Optimizer::groups() { return state_->groups; }

void Optimizer::MastersFromParameters() {
  for (OwnedState& owned : state_->owned) owned.ReadMasters();
}

void Optimizer::ZeroGradients() {
  for (const OwnedState& owned : state_->owned) at::Tensor(owned.flat().gradients).zero_();
}

void Optimizer::SyncGradients() {
  const Mesh& mesh = state_->mesh;
  const int zero_stage = state_->groups.zero_stage();
  state_->groups.FinishGradients();
  for (const OwnedState& owned : state_->owned) {
    const FlatBuffer& flat = owned.flat();
    if (zero_stage < 2) SumOverTp(flat, flat.gradients, mesh.tp());
    SumOverBothEnds(flat, mesh.pp());
    if (zero_stage < 2) SumOverDp(owned, mesh.dp(), zero_stage);
  }
}

double Optimizer::GradientNorm() {
  const Mesh& mesh = state_->mesh;
  at::Tensor total = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(state_->device));
  for (const OwnedState& owned : state_->owned) {
    for (const FlatRange counted : CountedRanges(owned.flat(), mesh)) {
      const FlatRange mine = Intersect(counted, owned.owned());
      if (mine.size() > 0) total.add_(SumOfSquares(owned.flat().GradientsIn(mine)));
    }
  }
  mesh.tp().AllReduce(total);
  mesh.pp().AllReduce(total);
  // Under ZeRO 0 every dp rank has already counted everything.
  if (state_->options.zero_stage > 0) mesh.dp().AllReduce(total);
  return std::sqrt(total.item<double>());
}

void Optimizer::Step(double learning_rate, double grad_scale) {
  const OptimizerOptions& options = state_->options;
  ++state_->steps;
  const AdamWStep step{.step = state_->steps,
                       .learning_rate = learning_rate,
                       .beta1 = options.beta1,
                       .beta2 = options.beta2,
                       .eps = options.eps,
                       .grad_scale = grad_scale};
  Communicator& dp = state_->mesh.dp();
  // Under ZeRO 3 values are gathered when they are used.
  const int zero_stage = state_->groups.zero_stage();
  const bool gathers = (zero_stage == 1 || zero_stage == 2) && dp.size() > 1;
  for (OwnedState& owned : state_->owned) {
    owned.Update(step, options.weight_decay, state_->int8_tables);
    if (!gathers) continue;
    MemoryScope scope(MemoryCategory::kCommunication);
    dp.AllGather(owned.Values().clone(), owned.flat().values);
  }
  state_->groups.ForgetWindows();
}

double ClipCoefficient(double norm, double max_norm) {
  return max_norm == 0.0 ? 1.0 : std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace fttrain

#include "parallel/optimizer/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "parallel/optimizer/adamw_int8.h"
#include "parallel/optimizer/state.h"
#include "parallel/optimizer/sum_of_squares.h"
#include "parallel/storage/flat_parameters.h"
#include "parallel/storage/gradient_sums.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
struct Optimizer::State {
  // What others own of the values, where this rank keeps it. Collective over dp.
  void ShareValues(const OwnedState& owned_state) const;

  ParameterStore& store;
  AdamWOptions options;
  std::vector<OwnedState> owned = {};
  at::Tensor int8_tables = {};  // undefined without 8-bit moments
  HostStaging staging = {};
};

Optimizer::Optimizer(ParameterStore& store, const AdamWOptions& options)
    : state_(new State{.store = store, .options = options}) {
  bool int8 = false;
  for (const FlatBuffer& flat : store.buffers()) {
    state_->owned.emplace_back(flat, store.Owned(flat), options.state_place);
    for (const FlatSegment& segment : flat.segments) int8 |= segment.int8_moments;
  }
  if (!int8) return;
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const bool on_host = options.state_place == StatePlace::kHost;
  state_->int8_tables = MakeInt8Tables(on_host ? c10::Device(c10::kCPU) : store.device());
}

Optimizer::~Optimizer() = default;

void Optimizer::State::ShareValues(const OwnedState& owned_state) const {
  // Under ZeRO 3 values are gathered when they are used.
  Communicator& replicas = store.mesh().Line(owned_state.flat().replicas);
  if (store.zero_stage() == 0 || store.zero_stage() == 3 || replicas.size() == 1) return;
  const MemoryScope scope(MemoryCategory::kCommunication);
  replicas.AllGather(owned_state.Values().clone(), owned_state.flat().values);
}

void Optimizer::MastersFromParameters() {
  for (OwnedState& owned : state_->owned) owned.ReadMasters();
}

void Optimizer::ParametersFromMasters() {
  for (OwnedState& owned : state_->owned) {
    owned.WriteMasters();
    state_->ShareValues(owned);
  }
  state_->store.ForgetWindows();
}

void Optimizer::ZeroGradients() {
  state_->store.DropGradients();
  for (const OwnedState& owned : state_->owned) owned.flat().gradients.zero_();
}

void Optimizer::SyncGradients() {
  state_->store.FinishGradients();
  for (const OwnedState& owned : state_->owned) {
    SumOverBothEnds(owned.flat(), owned.owned(), state_->store.mesh().pp());
  }
}

double Optimizer::GradientNorm() {
  const Mesh& mesh = state_->store.mesh();
  at::Tensor total =
      at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(state_->store.device()));
  for (const OwnedState& owned : state_->owned) {
    // Every replica owns all of it under ZeRO 0: the first counts.
    const bool alone = state_->store.zero_stage() > 0;
    if (!alone && mesh.Line(owned.flat().replicas).rank() > 0) continue;
    for (const FlatRange counted : CountedRanges(owned.flat(), mesh)) {
      const FlatRange mine = Intersect(counted, owned.owned());
      if (mine.size() > 0) AddSumOfSquares(owned.flat().GradientsIn(mine), total);
    }
  }
  mesh.AllReduce(total, kAllAxes);
  return std::sqrt(total.item<double>());
}

void Optimizer::Step(int64_t step, double learning_rate, double grad_scale) {
  const AdamWOptions& options = state_->options;
  const AdamWStep update{.step = step + 1,
                         .learning_rate = learning_rate,
                         .beta1 = options.beta1,
                         .beta2 = options.beta2,
                         .eps = options.eps,
                         .grad_scale = grad_scale};
  for (OwnedState& owned : state_->owned) {
    owned.Update(update, options.weight_decay, state_->int8_tables, state_->staging);
    state_->ShareValues(owned);
  }
  state_->store.ForgetWindows();
}

absl::Status Optimizer::VisitState(absl::FunctionRef<absl::Status(const StatePiece&)> visit) {
  for (OwnedState& owned : state_->owned) FT_RETURN_IF_ERROR(owned.Visit(visit));
  return absl::OkStatus();
}

double ClipCoefficient(double norm, double max_norm) {
  return max_norm == 0.0 ? 1.0 : std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace fttrain

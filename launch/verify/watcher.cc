#include "launch/verify/watcher.h"

#include <ATen/ops/empty.h>

#include "parallel/storage/gradient_reader.h"

namespace fttrain {

void Recording::OnWhole(Seen what, int64_t at, int64_t parameter, const at::Tensor& whole) {
  if (what == Seen::kValues && !record_->has_values()) return;
  record_->Of(what == Seen::kValues, at, parameter).copy_(whole);
}

void Recording::OnUpdated(const StepMetrics& metrics) {
  record_->scalars[static_cast<size_t>(metrics.step - 1)] = {metrics.loss, metrics.grad_norm};
}

Watcher::Watcher(Job& job, const Holders& holders, Viewer* viewer, std::optional<TakenRun> takes)
    : job_(&job), holders_(&holders), viewer_(viewer), takes_(takes) {
  job.observers.push_back(this);
}

// Brings the parameter from whoever has it, and has it seen; what it was is taken away.
void Watcher::SeeWhole(Seen what, int64_t at, int64_t parameter, const at::Tensor& local) {
  const Parameter& declared = *this->declared().all()[static_cast<size_t>(parameter)];
  const bool values = what == Seen::kValues;
  at::Tensor whole, taken;
  if (holders_->on_first_rank()) {
    whole = at::empty(declared.slice.global_shape,
                      values ? declared.dtype : StepRecord::GradientDtype(declared));
  }
  holders_->Collect(parameter, local, whole);
  if (viewer_ != nullptr) viewer_->OnWhole(what, at, parameter, whole);
  if (!takes_) return;
  if (holders_->on_first_rank()) {
    taken = takes_->record->Of(values, at, parameter).to(whole.scalar_type());
  }
  holders_->Distribute(parameter, taken, local);
}

void Watcher::See(Seen what, int64_t at) {
  const bool values = what == Seen::kValues;
  ParameterStore& store = *job_->network->store;
  GradientReader reader(store);
  std::vector<uint64_t> hashes(declared().all().size());
  for (size_t i = 0; i < hashes.size(); ++i) {
    const bool trainable = declared().all()[i]->trainable;
    if (!trainable && (!values || at > 0 || takes_)) continue;
    const Parameter* mine = holders_->Mine(static_cast<int64_t>(i));
    ParameterStore::Lease lease;
    if (mine != nullptr && values) lease = store.Acquire(mine->group);
    at::Tensor local;
    if (mine != nullptr) local = values ? mine->value : reader.Read(*mine);
    if (local.defined() && !takes_) hashes[i] = HashOf(local);
    if (trainable) SeeWhole(what, at, static_cast<int64_t>(i), local);
  }
  if (takes_) return;
  for (const ReplicaFault& fault : holders_->Compare(hashes)) {
    replicas_.push_back({values ? at : at + 1, values ? "values" : "gradients",
                         declared().all()[static_cast<size_t>(fault.parameter)]->slice.name,
                         fault.wrong, fault.right});
  }
}

void Watcher::OnLoaded() {
  See(Seen::kValues, 0);
  if (takes_) job_->optimizer->MastersFromParameters();
}

void Watcher::OnGradients(int64_t step, double loss) {
  const double norm = job_->optimizer->GradientNorm();
  if (viewer_ != nullptr) viewer_->OnStep(step, loss, norm);
  See(Seen::kGradients, step);
}

void Watcher::OnUpdated(const StepMetrics& metrics) {
  See(Seen::kValues, metrics.step);
  if (viewer_ != nullptr) viewer_->OnUpdated(metrics);
}

}  // namespace fttrain

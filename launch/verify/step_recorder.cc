#include "launch/verify/step_recorder.h"

#include "parallel/storage/gradient_reader.h"

namespace fttrain {
namespace {

// Of the parameter's values, by index, from whoever has them: `use`(index, value), undefined where
// this rank holds none. Collective as ParameterStore::Acquire.
template <typename Use>
void ForEachValue(const VerifiedRun& run, bool frozen_too, const Use& use) {
  for (int64_t i = 0; i < static_cast<int64_t>(run.declared.all().size()); ++i) {
    if (!run.Declared(i).trainable && !frozen_too) continue;
    const Parameter* mine = run.holders.Mine(i);
    ParameterStore::Lease lease;
    if (mine != nullptr) lease = run.store.Acquire(mine->group);
    use(i, mine != nullptr ? mine->value : at::Tensor());
  }
}

}  // namespace

void StepRecorder::CompareReplicas(int64_t step, const char* what,
                                   const std::vector<uint64_t>& hashes) {
  for (const ReplicaFault& fault : run_.holders.Compare(hashes)) {
    replicas_.push_back(
        {step, what, run_.Declared(fault.parameter).slice.name, fault.wrong, fault.right});
  }
}

void StepRecorder::RecordValues(int64_t steps_done) {
  std::vector<uint64_t> hashes(run_.declared.all().size());
  ForEachValue(run_, steps_done == 0, [&](int64_t i, const at::Tensor& value) {
    if (value.defined()) hashes[static_cast<size_t>(i)] = HashOf(value);
    if (!run_.Declared(i).trainable) return;
    run_.holders.Collect(i, value,
                         record_ != nullptr ? record_->Values(steps_done, i) : at::Tensor());
  });
  CompareReplicas(steps_done, "values", hashes);
}

void StepRecorder::OnLoaded() { RecordValues(0); }

void StepRecorder::OnGradients(int64_t step, double loss) {
  GradientReader reader(run_.store);
  std::vector<uint64_t> hashes(run_.declared.all().size());
  for (int64_t i = 0; i < static_cast<int64_t>(hashes.size()); ++i) {
    if (!run_.Declared(i).trainable) continue;
    const Parameter* mine = run_.holders.Mine(i);
    const at::Tensor local = mine != nullptr ? reader.Read(*mine) : at::Tensor();
    if (mine != nullptr) hashes[static_cast<size_t>(i)] = HashOf(local);
    run_.holders.Collect(i, local, record_ != nullptr ? record_->Gradients(step, i) : at::Tensor());
  }
  CompareReplicas(step + 1, "gradients", hashes);
  if (record_ != nullptr) record_->scalars[static_cast<size_t>(step)].loss = loss;
}

void StepRecorder::OnUpdated(const StepMetrics& metrics) {
  RecordValues(metrics.step);
  if (record_ == nullptr) return;
  record_->scalars[static_cast<size_t>(metrics.step - 1)].grad_norm = metrics.grad_norm;
}

void StepFollower::TakeValues(int64_t steps_done) {
  TakeRecorded(
      run_, Recorded::kValues, [&](int64_t i) { return recorded_->Values(steps_done, i); },
      [](int64_t, const at::Tensor&, const at::Tensor&) {});
}

void StepFollower::OnLoaded() {
  TakeValues(0);
  run_.optimizer.MastersFromParameters();
}

void StepFollower::OnGradients(int64_t step, double loss) {
  TakeRecorded(
      run_, Recorded::kGradients, [&](int64_t i) { return recorded_->Gradients(step, i); },
      [&](int64_t i, const at::Tensor&, const at::Tensor& whole) {
        own_->Gradients(step, i).copy_(whole);
      });
  if (own_ != nullptr) own_->scalars[static_cast<size_t>(step)].loss = loss;
}

void StepFollower::OnUpdated(const StepMetrics& metrics) { TakeValues(metrics.step); }

}  // namespace fttrain

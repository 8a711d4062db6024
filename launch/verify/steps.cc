#include "launch/verify/steps.h"

#include <ATen/ATen.h>

#include <iterator>
#include <utility>

#include "absl/strings/str_format.h"
#include "launch/run/trainer.h"
#include "parallel/storage/gradient_reader.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/nameless_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

at::ScalarType DtypeOf(Quantity quantity, const Parameter& parameter) {
  if (quantity == Quantity::kValues || parameter.dtype == at::kDouble) return parameter.dtype;
  return at::kFloat;
}

// On rank 0. Agrees on errors.
absl::StatusOr<StepTensors> MakeStepTensors(const ParameterSet& declared, Quantity quantity,
                                            int64_t steps, const std::string& folder,
                                            const Process& process) {
  const auto bytes_of = [quantity](const Parameter& parameter) {
    return parameter.slice.GlobalNumel() *
           static_cast<int64_t>(c10::elementSize(DtypeOf(quantity, parameter)));
  };
  int64_t step_bytes = 0;
  for (const Parameter* parameter : declared.Trainable()) {
    step_bytes += RoundUp(bytes_of(*parameter), kAlignmentBytes);
  }
  const int64_t first = quantity == Quantity::kValues ? 0 : 1;
  at::Tensor file;
  absl::Status made;
  // One rank alone makes the file: its failure is a status that the others can be told.
  try {
    if (process.rank() == 0) {
      file = NamelessFile::AsTensor(folder, (steps + 1 - first) * step_bytes);
    }
  } catch (const NamelessFileError& error) {
    made = absl::UnavailableError(error.what_without_backtrace());
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made));
  StepTensors tensors;
  if (!file.defined()) return tensors;
  tensors.resize(static_cast<size_t>(steps) + 1);
  int64_t begin = 0;
  for (int64_t step = first; step <= steps; ++step) {
    for (const auto& parameter : declared.all()) {
      at::Tensor& tensor = tensors[static_cast<size_t>(step)].emplace_back();
      if (!parameter->trainable) continue;
      const int64_t bytes = bytes_of(*parameter);
      tensor = file.narrow(0, begin, bytes)
                   .view(DtypeOf(quantity, *parameter))
                   .view(parameter->slice.global_shape);
      begin += RoundUp(bytes, kAlignmentBytes);
    }
  }
  return tensors;
}

class Watcher : public StepObserver {
 public:
  Watcher(Job& job, const ReplicaMap& replicas, const Watch& watch)
      : job_(job), replicas_(replicas), watch_(watch) {
    job.observers.push_back(this);
  }
  ~Watcher() override { std::erase(job_.observers, this); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  void OnGradients(int64_t step, double /*loss*/) override {
    norm_ = job_.optimizer->GradientNorm();
    Observe(Quantity::kGradients, step + 1);
  }
  void OnUpdated(const StepMetrics& metrics) override {
    Observe(Quantity::kValues, metrics.step);
    watch_.after_step(metrics, norm_);
  }
  // Looks at all trained parameters and, as loaded, at the replicas of frozen ones.
  void Observe(Quantity quantity, int64_t step);
  const std::vector<Deviation>& deviations() const { return deviations_; }

 private:
  Job& job_;
  const ReplicaMap& replicas_;
  const Watch& watch_;
  double norm_ = 0;
  std::vector<Deviation> deviations_;
};

// Shows rank 0 every parameter whole, and sets it to what the job follows.
void Watcher::Observe(Quantity quantity, int64_t step) {
  const bool values = quantity == Quantity::kValues, follows = watch_.follow != nullptr;
  const bool first_rank = replicas_.on_first_rank();
  ParameterStore& store = *job_.network->store;
  GradientReader reader(store);
  std::vector<int64_t> hashes(replicas_.slices().size());
  for (size_t i = 0; i < hashes.size(); ++i) {
    const Parameter& declared = replicas_.Declared(i);
    if (!declared.trainable && (!values || step > 0 || follows)) continue;
    const Parameter* parameter = replicas_.Local(i);
    ParameterStore::Lease lease;
    if (parameter != nullptr && values) lease = store.Acquire(parameter->group);
    at::Tensor local;
    if (parameter != nullptr) local = values ? parameter->value : reader.Read(*parameter);
    if (local.defined() && !follows) hashes[i] = HashOf(local);
    if (!declared.trainable) continue;
    const at::ScalarType dtype = DtypeOf(quantity, declared);
    at::Tensor whole = replicas_.Collect(i, local, dtype);
    if (first_rank) watch_.on_tensor({quantity, step, i, whole, norm_});
    if (!follows) continue;
    if (first_rank) whole = watch_.follow->Of(quantity, step, i).to(dtype);
    replicas_.Distribute(i, whole, local);
  }
  if (follows) return;
  auto found = replicas_.Compare(step, values ? "values" : "gradients", hashes);
  std::move(found.begin(), found.end(), std::back_inserter(deviations_));
}

}  // namespace

absl::StatusOr<std::vector<Deviation>> WatchSteps(Job& job, const ReplicaMap& replicas,
                                                  int64_t steps, const Watch& watch) {
  Watcher watcher(job, replicas, watch);
  watcher.Observe(Quantity::kValues, 0);
  // Not from the files, in more bits: a master halfway between two values of its parameter would
  // turn rounding's noise into a difference.
  job.optimizer->MastersFromParameters();
  Trainer trainer(job);
  for (int64_t step = 0; step < steps; ++step) FT_RETURN_IF_ERROR(trainer.Step(step).status());
  return watcher.deviations();
}

absl::StatusOr<StepRecord> RecordSteps(Job& job, int64_t steps, const std::string& scratch_folder,
                                       const Process& process, const StepRecord* follow) {
  const auto make = [&](Quantity quantity) {
    return MakeStepTensors(job.network->declared, quantity, steps, scratch_folder, process);
  };
  StepRecord record;
  if (follow == nullptr) {
    FT_ASSIGN_OR_RETURN(record.values, make(Quantity::kValues));
  }
  FT_ASSIGN_OR_RETURN(record.gradients, make(Quantity::kGradients));
  FT_ASSIGN_OR_RETURN(const ReplicaMap replicas, ReplicaMap::Create(*job.network, process));
  record.slices = replicas.slices();
  const auto on_tensor = [&](const WholeTensor& seen) {
    if (seen.quantity == Quantity::kValues && follow != nullptr) return;
    record.Of(seen.quantity, seen.step, seen.parameter).copy_(seen.tensor);
  };
  const auto after_step = [&](const StepMetrics& metrics, double) {
    record.comparison.steps.push_back({metrics.step, metrics.loss, metrics.grad_norm});
    LogInfo(absl::StrFormat("verify     step %d of %d %s: loss %.7g, %.1f s", metrics.step, steps,
                            follow == nullptr ? "of the run" : "in float32", metrics.loss,
                            metrics.seconds));
  };
  FT_ASSIGN_OR_RETURN(record.comparison.deviations,
                      WatchSteps(job, replicas, steps, {on_tensor, after_step, follow}));
  return record;
}

}  // namespace fttrain

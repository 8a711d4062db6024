// A task in a layout as objects that train: the one way to make them, for every command and test.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/packing/packer.h"
#include "launch/run/evaluations.h"
#include "launch/run/loss_guard.h"
#include "launch/run/metrics.h"
#include "launch/run/network.h"
#include "parallel/optimizer/optimizer.h"

namespace fttrain {

struct Samples;  // samples.h
struct Job;

// Gives this rank's parameters, which are zeros, their values. Agrees on errors. Collective over
// the world of `process`, as ParameterStore::Write.
using WeightSource = std::function<absl::Status(Network&, const Process&)>;

// The files of task.model_path; adapters from their init_from, or fresh.
WeightSource WeightsFromFiles();

// What a job is made from, beside what it computes and how. Jobs may share it.
struct JobInputs {
  WeightSource weights = WeightsFromFiles();
  std::shared_ptr<RowStream> rows;
  std::shared_ptr<RowStream> held_out;               // evaluated; null: nothing is
  std::shared_ptr<const Samples> samples = nullptr;  // answered after evaluations; null: none
  // In a rehearsal done after its steps: the copies of a checkpoint (RehearseSave). May be null.
  std::function<void(Job&, const Process&)> saving = nullptr;
  // Microbatches of a step that a rehearsal does not run: each takes memory as the first one's
  // rows.
  int64_t left_out = 0;
  std::string scratch_folder;  // of files without a name; a store that wants some makes it
  c10::Device device = c10::Device(c10::kCPU);  // this rank's, selected
  CommBackend backend = nullptr;                // as BuildNetwork
  int64_t timeout_seconds = 0;                  // as Output
  int64_t peak_bytes = 0;  // of tensors on this rank's device, planned (CheckFits); 0: not known
};

// Of the longest document that rows, held-out rows and samples have.
int64_t PositionsOf(const Task& task, const JobInputs& inputs);

// Sees what a step computes; every rank has one or none has. May be collective.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  // Gradients are final (Optimizer::SyncGradients) and may be changed: norm and update follow.
  // `step` counts from 0.
  virtual void OnGradients(int64_t step, double loss) = 0;
  // Parameters are updated.
  virtual void OnUpdated(const StepMetrics& metrics) = 0;
};

// Ready to train (trainer.h).
struct Job {
  std::unique_ptr<Network> network;
  std::unique_ptr<Optimizer> optimizer;  // its state fresh
  std::shared_ptr<RowStream> rows, held_out;
  std::shared_ptr<const Samples> samples;
  LossGuard guard;
  Evaluations evaluations;
  int64_t timeout_seconds = 0, left_out = 0;  // as JobInputs
  std::vector<StepObserver*> observers;  // see every step of a trainer, in order; outlive it

  const Task& task() const { return network->task; }
  const Layout& layout() const { return network->layout; }
};

// `layout` passes CheckLayout. As BuildNetwork: a layout of one rank may be built by every rank of
// a larger world. Agrees on errors: Unavailable where a file cannot be made. Collective over the
// world.
absl::StatusOr<std::unique_ptr<Job>> Build(const Task& task, const Layout& layout,
                                           const JobInputs& inputs, const Process& process);

}  // namespace fttrain

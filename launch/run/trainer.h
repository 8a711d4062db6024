// The training step, on one screen.
#pragma once

#include <optional>
#include <vector>

#include "launch/run/build.h"
#include "launch/run/phases.h"
#include "launch/run/rows_ahead.h"
#include "parallel/pipeline/schedule.h"
#include "runtime/process/watchdog.h"

namespace fttrain {

inline constexpr double kFirstStepSeconds = 600;

// A rank's share of a step.
struct StepRows {
  int64_t step = 0;
  std::vector<ModelBatch> batches;
  double tokens = 0, targets = 0;
};
// On the job's device.
StepRows ReadStepRows(const Job& job, int64_t step);
StepRows ToDevice(const Job& job, int64_t step, const std::vector<Microbatch>& microbatches);

// From its first step to the end of its life a rank of several that stands still for
// JobInputs::timeout_seconds ends the job, with an error that says which rank of its host is to
// blame and what it waits for itself; in the first step, which loads kernels and fills caches, for
// kFirstStepSeconds at least. What takes longer and moves nothing between ranks, as writing a
// result may, is not for a trainer's life.
class Trainer {
 public:
  explicit Trainer(Job& job);  // must outlive the trainer

  // What the stages do in a step.
  const PipelineSchedule& Schedule() const { return schedule_; }

  // One optimizer step; `step` counts from 0. Its rows are those of the data's order, whichever
  // step was before. Collective over the mesh: every rank calls with the same step. Errors, on
  // every rank alike, with parameters untouched: Aborted when too many steps in a row were passed
  // over (Job::guard; one is told with where it is not finite), DataLoss when no row of the step
  // has a target.
  absl::StatusOr<StepMetrics> Step(int64_t step);

  // Until the next step this rank may stand still for as long as it likes.
  void Rest() { watchdog_.Rest(); }

 private:
  void RunStages();
  // `work`, whose time is the phase's.
  template <typename Work>
  void At(Phase phase, const Work& work);
  absl::Status PassOver(const StepMetrics& metrics);
  template <typename See>
  void Observe(int64_t step, const See& see);

  Job* job_;
  PipelineSchedule schedule_;
  RowsAhead ahead_;               // of the next step, while this one computes
  std::optional<StepRows> next_;  // on the device while that computed the step before
  Watchdog watchdog_;
  PhaseClock clock_;
};

}  // namespace fttrain

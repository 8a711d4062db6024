// The steps of a run, with what is saved between them and what the outside asks of it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "launch/run/control.h"
#include "launch/run/metrics.h"
#include "launch/run/run_status.h"
#include "launch/saving/saver.h"

namespace fttrain {

struct RunParts {
  const TrainPlan& plan;
  Job& job;
  Saver& saver;
  Control& control;
  RunStatusFile& status;
  std::vector<MetricsSink*> sinks;  // rank 0's; the others have none
  const Process& process;
};

// Trains from `steps_done` steps to the task's last one, or until the evaluations of what is held
// out say that no more is learnt (Job::evaluations). Writes its metrics, shows progress, saves a
// checkpoint every save_steps steps, at the end where there are any, when asked to and, where the
// result is to be that of the best evaluation, after each that is the best so far. A save
// that fails is told and the run goes on; the third in a row ends it. Errors, agreed on: those
// of Trainer::Step; Cancelled with kExitPreempted where the run was asked to stop, once its
// checkpoint is committed; what a disk says. Collective over the world.
absl::Status TrainSteps(const RunParts& run, int64_t steps_done);

}  // namespace fttrain

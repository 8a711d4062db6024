// The job of a dry run, from its weights to the adapter that is read again. A member a stage, in
// this order; each is collective over the world, tells what it saw on one line, and agrees on
// errors or leaves that to its caller.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "launch/check/report.h"
#include "launch/run/rank_memory.h"
#include "launch/run/train_plan.h"
#include "launch/run/trainer.h"
#include "launch/saving/disk.h"
#include "launch/saving/run_identity.h"

namespace fttrain {

// Whether a rank's steps took the memory that was planned: on a CPU to the byte in every category,
// on a GPU, whose allocator rounds up, to 1 %. With `experts` the plan is of the worst choice of
// them, and less than that is as planned, too. Pure.
bool IsAsPlanned(const RankMemory& planned, const RankMemory& measured, c10::Device device,
                 bool experts);

class Trial {
 public:
  // `plan` is one of at least kTrialSteps steps. All must outlive it; `report` gets peaks and
  // speed. What is written goes into `scratch`, a folder that this rank's host has or may make.
  Trial(const TrainPlan& plan, const std::string& scratch, const Process& process,
        CheckReport& report);

  // The job in the config's layout. Its memory in two steps is foretold first.
  absl::StatusOr<std::string> Load();
  // Two steps. Aborted without a gradient; ranks that hold the same must hold the same bits.
  absl::StatusOr<std::string> Train();
  // A checkpoint, and the third step; the same from the checkpoint, in a new job. Aborted unless
  // all bits are the same; on a GPU, unless the run is deterministic, of the loss almost all.
  absl::StatusOr<std::string> Resume();
  // The loss of the first step's rows before and after training, forward only.
  absl::StatusOr<std::string> Evaluate();
  // The result, read by a new job. Aborted unless its logits are the trained job's.
  absl::StatusOr<std::string> Export();

 private:
  absl::StatusOr<StepMetrics> Step(int64_t step);
  absl::StatusOr<StepMetrics> SaveAndGoOn(std::string& saved, std::string& after);
  absl::Status BuildAgain(const Task& task);
  absl::Status GoOnFromCheckpoint(const std::string& saved);
  void GatherPeaks(const RankMemory& measured);

  TrainPlan plan_;  // whose output is in the scratch folder
  const Process& process_;
  CheckReport& report_;
  std::optional<RunIdentity> identity_;
  Disk disk_;
  std::optional<RankMemory> planned_;
  std::unique_ptr<Job> job_;
  std::unique_ptr<Trainer> trainer_;
  double loss_before_ = 0;
};

}  // namespace fttrain

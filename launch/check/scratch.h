// Where a dry run writes, and whether the run could write where it wants to. Nothing is left.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "launch/run/output_folder.h"
#include "launch/run/train_plan.h"
#include "runtime/process/process.h"

namespace fttrain {

// That the output folder of the plan can be made and written, is no other run's, and has room for
// what the run leaves there. Folders that it had to make are gone again. Rank 0's; errors as
// OutputFolder's.
absl::Status ProbeOutput(const TrainPlan& plan);

// A new folder beside the output folder, else in TMPDIR, gone with this on every host that saw it:
// whoever has written there has ended then. A process that is killed leaves it
// (.fttrain-check-XXXXXX).
class Scratch {
 public:
  // With room for `bytes` (ResourceExhausted). Agrees on errors. Collective over the world, and so
  // is Remove.
  static absl::StatusOr<std::unique_ptr<Scratch>> Make(const std::string& output_folder,
                                                       int64_t bytes, const Process& process);
  // Says so where it could not be removed.
  void Remove();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }

 private:
  Scratch(std::string path, std::unique_ptr<OutputFolder> folder, const Process& process)
      : path_(std::move(path)), folder_(std::move(folder)), process_(process) {}

  std::string path_;
  std::unique_ptr<OutputFolder> folder_;  // rank 0's, with its lock
  const Process& process_;
};

}  // namespace fttrain

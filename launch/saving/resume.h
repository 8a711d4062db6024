// From which checkpoint a run goes on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/checkpoint/committed.h"
#include "launch/run/build.h"
#include "launch/saving/disk.h"
#include "launch/saving/run_identity.h"

namespace fttrain {

// By train.resume: the newest checkpoint of the output folder that can be used, the one of a folder
// (or the newest that this run has made since it went on from there), or none. What is damaged, or
// on some of several disks only, is told and passed over for an older one. DataLoss where all that
// is there is so: a run does not begin anew by itself where it had been saved. InvalidArgument as
// CheckSameRun. Every file has been read and hashed by a rank. Each disk's leader has its folder's
// lock. Collective over the world; agrees on errors.
absl::StatusOr<std::optional<Committed>> FindCheckpoint(const TrainPlan& plan,
                                                        const RunIdentity& identity,
                                                        FileSystem& files, const Disk& disk,
                                                        const Process& process);

// Whether a checkpoint's folder is one of the output folder's own.
bool IsIn(const std::string& output_folder, const std::string& checkpoint);

// The checkpoint that train.resume told a run to go on from, of those that it has made since, too;
// "": it was not told.
std::string BegunWith(const TrainPlan& plan, const Committed& checkpoint);

// The folder that it is in, whole: a later start may be made from elsewhere.
std::string CheckpointsAround(const std::string& checkpoint);

// The job is as it was when the checkpoint was made; says what of it is not. Collective over the
// world; agrees on errors.
absl::Status GoOnFrom(const Committed& checkpoint, Job& job, FileSystem& files,
                      const Process& process);

// The checkpoint of the best evaluation, every file of it read and hashed by a rank: the output
// folder's, or that of the run that this one went on from. Collective over the world; agrees on
// errors.
absl::StatusOr<Committed> OpenBest(const Evaluations::Best& best, const std::string& output_folder,
                                   FileSystem& files, const Disk& disk, const Process& process);

}  // namespace fttrain

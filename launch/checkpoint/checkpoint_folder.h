// The folder OUT/checkpoints: how a checkpoint becomes one, whole or not at all, whenever the power
// goes or a call fails.
//
//   rank 0     MakeStaging -> .tmp-step-N.NONCE/
//   the others OpenStaging
//   every rank WriteShard (and WriteExtraFile) into it, then all agree (shard.h)
//   rank 0     Commit: manifest.json, COMMIT = its hash, fsync of all, rename to step-N/: the
//              checkpoint exists from the fsync after it on; before that returns nobody says
//              "saved"
//   rank 0     PointLatest, Retain
//   on errors  rank 0 Abandon; another attempt has another nonce
//
// An error says that this attempt is lost, never that an earlier checkpoint is. One attempt at a
// time; the caller holds the run's lock (LockFolder). Paths and errors as in file_system.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launch/checkpoint/committed.h"
#include "launch/checkpoint/manifest.h"
#include "runtime/files/file_system.h"

namespace fttrain {

struct StagedStep {
  int64_t step = 0;
  std::string nonce;
  std::string path;
};

class CheckpointFolder {
 public:
  // Does nothing yet. `files` must outlive it; `output_folder` exists.
  CheckpointFolder(FileSystem& files, std::string output_folder);

  const std::string& path() const { return path_; }  // OUT/checkpoints

  // Creates the folder of one attempt, and OUT/checkpoints if there is none, and makes both last.
  // `nonce`: 1 to 64 letters and digits that no earlier attempt had. InvalidArgument if
  // OUT/checkpoints is a link, AlreadyExists if step-N is committed or the nonce was used.
  absl::StatusOr<StagedStep> MakeStaging(int64_t step, const std::string& nonce);
  // The same folder as another rank sees it, on a network file system later than rank 0 does.
  // NotFound if it has not appeared in time.
  absl::StatusOr<StagedStep> OpenStaging(
      int64_t step, const std::string& nonce,
      std::chrono::milliseconds patience = std::chrono::seconds(30));

  // The staging folder becomes step-N. Every rank has written and all agree on it. A step-N that is
  // no checkpoint moves aside; AlreadyExists if it is one. After an error step-N is what it was, or
  // nothing (if the disk fails twice, it may be the new one: complete, but not known to last).
  absl::Status Commit(const StagedStep& staging, const Manifest& manifest);
  // What Commit made is no checkpoint any more, where another disk's part of it failed: it is what
  // Abandon removes.
  absl::Status TakeBack(const StagedStep& committed);
  // LATEST names step-N, for people and scripts; nothing here reads it. Its failure costs nothing.
  absl::Status PointLatest(const StagedStep& committed);
  // Removes what an attempt wrote. Never an error of the run: CleanUp removes what is left.
  absl::Status Abandon(const StagedStep& staging);

  // Removes .tmp-* and .trash-*, which an earlier run left. Before the first attempt. What stays
  // after an error costs nothing but its bytes.
  absl::Status CleanUp();
  // Removes committed checkpoints but for the newest `keep_newest` (0: keeps all) and those of the
  // steps in also_keep. What is not committed stays, and is not counted. Each first moves to
  // .trash-step-N.NONCE, so that it is whole or none.
  absl::Status Retain(int keep_newest, const std::set<int64_t>& also_keep,
                      const std::string& nonce);

  // Every checkpoint that a run may start from, and what cannot be one and why. NotFound is none:
  // no folder is an empty list. Damage of one is no error of the list.
  absl::StatusOr<Listing> List();

 private:
  std::string StepPath(int64_t step) const;
  std::string StagingPath(int64_t step, const std::string& nonce) const;
  std::string TrashPath(int64_t step, const std::string& nonce) const;

  FileSystem& files_;
  std::string output_folder_, path_;
};

}  // namespace fttrain

// Saves checkpoints of a job while it trains: a copy is made at a step's end, threads write it
// while the next steps run, and a later step's end commits it.
#pragma once

#include <cstdint>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/saving/run_identity.h"
#include "launch/saving/state_pieces.h"
#include "model/files/adapter.h"

namespace fttrain {

// Every rank has one. Where there is no shared disk each has a checkpoint of what its ranks have,
// from which they go on in the same layout. Calls marked so are collective over the world of
// `process`, in one order.
class Saver {
 public:
  // All must outlive it. `disk`: of the plan's output folder. Collective.
  Saver(Job& job, const TrainPlan& plan, const RunIdentity& identity, FileSystem& files,
        const Disk& disk, const Process& process);
  ~Saver();  // what is being written is waited for, and is no checkpoint
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  // Copies the state after `steps_done` steps and begins to write it; nothing may be in flight.
  // Agrees on errors, after which nothing is. Collective.
  absl::Status Begin(int64_t steps_done);
  bool in_flight() const { return step_.has_value(); }
  // Whether this rank's part of what is in flight has been written, or is lost.
  bool Written() const;
  // Waits for all parts and commits: only then is there a checkpoint. Agrees on errors, after which
  // there is none of this step. Older ones than the limit are removed, but not that which the run
  // began from and had no other since, nor that of the best evaluation.
  // Collective.
  absl::Status Finish();

  // What the newest one took this rank to copy and to write.
  double seconds() const { return seconds_; }

  // Of the newest that is committed by this saver or that the run began from.
  std::optional<int64_t> committed() const { return committed_; }
  // `origin`: BegunWith, of that checkpoint.
  void BeganFrom(int64_t step, std::string origin);

 private:
  // What a rank has written: a manifest of its own files and tensors.
  using Part = absl::StatusOr<Manifest>;

  // What a thread writes while the job trains on.
  struct Copies {
    int64_t step = 0;
    std::vector<SavedPiece> pieces;
    std::vector<AdapterTensor> adapter;  // of rank 0
    std::string guard, evaluations;
  };

  bool leads() const { return disk_.leader() == process_.rank(); }
  absl::Status MakeFolder(int64_t steps_done);
  Part Write(const Copies& copies) const;
  absl::Status Commit(const std::vector<std::string>& parts);
  void Tidy();  // what fails in it is no more than said

  Job& job_;
  const TrainPlan& plan_;
  const RunIdentity& identity_;
  FileSystem& files_;
  const Process& process_;
  Disk disk_;
  CheckpointFolder folder_;
  std::vector<SavedPiece> pieces_;
  std::optional<int64_t> step_;  // in flight
  // Where the result is to be the best evaluation's: that up to the step in flight, and that of
  // which there is a checkpoint, which a later one's loss must not cost.
  std::optional<int64_t> best_, saved_best_;
  StagedStep staging_;
  std::future<Part> written_;
  double seconds_ = 0;  // by the thread, until what it has written is asked for
  std::optional<int64_t> committed_;
  int64_t began_from_ = -1;
  std::string origin_;
};

// In a rehearsal: asks for the memory that Begin does. What several tensor ranks have is counted on
// each, though the first alone saves it.
void RehearseSave(Job& job, const Process& process);

inline constexpr char kPartNote[] = "part";  // whose state it is, where it is not all ranks'
inline constexpr char kOriginNote[] = "begun_with";        // BegunWith, if it has one
inline constexpr char kGuardNote[] = "loss_guard";         // LossGuard::State
inline constexpr char kEvaluationsNote[] = "evaluations";  // Evaluations::State

// How a job is laid out, in words: where a checkpoint's differ from a run's, so may the last bits
// of what follows.
std::string LayoutText(const Job& job);

}  // namespace fttrain

// One process, one rank. MPI is initialised here and nowhere else.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/process/activity.h"

namespace fttrain {

// Ranks that belong together, in their order.
struct Members {
  int rank = 0;                  // this one's place among them
  std::vector<int> ranks = {0};  // their ranks in the job
  Activity* activity = nullptr;  // of this process, which outlives them; null: nobody is told
};

class Process {
 public:
  // Initialises MPI, which the calling thread alone may use. Call once, first thing in main.
  // Without mpirun the process is rank 0 of 1. Errors: MPI cannot start, or grants a lower thread
  // level.
  static absl::StatusOr<std::unique_ptr<Process>> Create(int* argc, char*** argv);
  // Rank `rank` of a world that is not there, for a rehearsal (memory/rehearsal.h): all of it on
  // one host, and every rank says what this one says. It asks MPI for nothing.
  static std::unique_ptr<Process> StandIn(int rank, int world_size);
  // Finalises MPI. Not a place for collectives: call Barrier() before where ranks may arrive apart.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }
  // Rank among the processes of this host; picks the device.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  const std::string& host() const { return host_; }  // its name
  // MPI_Comm of the world as an opaque pointer, for runtime/ only; null of a stand-in.
  const void* world() const { return world_.get(); }
  // What this process does between ranks. Calls of AgreeOnStatus are told.
  Activity& activity() const { return *activity_; }

  void Barrier() const;
  // The same for ranks that may wait long for one with work: they sleep meanwhile, and leave up to
  // 20 ms late.
  void IdleBarrier() const;

  // A world of this one's first `ranks` ranks (1 to world_size()), with the same rank numbers, for
  // work that the others take no part in; null on those. It must not outlive this. Collective over
  // this world.
  absl::StatusOr<std::unique_ptr<Process>> FirstRanks(int ranks) const;

  // Collective over the world. Returns OK on every rank if all ranks pass OK; else, on every rank,
  // the status of the lowest failing rank, with "rank R on host H: " before its message unless that
  // is rank 0, whose voice the command speaks with; its payloads too, and its origin (OriginOf) if
  // it had none. Setup that can fail on one rank alone ends in this call, before the next
  // collective.
  absl::Status AgreeOnStatus(const absl::Status& status) const;

  // Whether `mine` is true on any rank. Collective over the world.
  bool AnyRank(bool mine) const;
  // Each number becomes the largest of any rank's. As many on all. Collective over the world.
  void LargestOfRanks(absl::Span<int64_t> numbers) const;

  // Rank 0's bytes on every rank. Collective over the world.
  std::string BroadcastString(const std::string& text) const;
  // Every rank's bytes on every rank, by rank. Collective over the world.
  std::vector<std::string> GatherStrings(const std::string& text) const;

  // For threads that may not call MPI, as a watchdog's: this process ends, after a second in which
  // others may say their own, and mpirun ends the ranks that it leaves behind. `message`, unless it
  // is empty, is left as its last words (last_words.h).
  [[noreturn]] static void EndFromAnyThread(int exit_code, const std::string& message = {});

  // The single abort path: for failures that cannot be agreed on (inside a step, say). Flushes,
  // then MPI_Abort(exit_code), so that no rank is left waiting in a collective.
  [[noreturn]] void AbortJob(int exit_code) const;
  // From now on an exception that nobody catches is logged, left as this process's last words, and
  // ends the job so, from where it was thrown: nothing unwinds, for a destructor may wait for a
  // peer that waits for this rank.
  void AbortJobOnUncaught(int exit_code) const;

 private:
  Process() = default;
  // With this process's name and origin.
  absl::Status AsToldToOthers(const absl::Status& status) const;
  void FindPlace();  // rank, size and host, of world_
  int rank_ = 0, world_size_ = 1, local_rank_ = 0, local_size_ = 1;
  std::string host_;
  std::shared_ptr<void> world_;  // an MPI_Comm, freed by MPI_Finalize
  std::shared_ptr<Activity> activity_ = std::make_shared<Activity>();
  bool is_part_ = false;  // of a process that finalises MPI, or of none
};

// Cores that this process may run on; at least 1.
int UsableCores();

}  // namespace fttrain

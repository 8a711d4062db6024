// How a run stands, for those who watch it from outside: run_status.json and errors/rank-R.json in
// its output folder.
#pragma once

#include <atomic>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/process/process.h"
#include "runtime/process/status_payload.h"

namespace fttrain {

// run_status.json. A run that was killed says "running" for ever; its pid and host tell.
struct RunStatus {
  std::string state = "running";  // running | done | preempted | failed
  std::optional<int> exit_code;   // once it is not running; mpirun's own may be another
  int64_t step = 0;               // steps done at updated_at
  int64_t total_steps = 0;
  std::optional<int64_t> checkpoint;  // the newest that is committed
  std::string stopped_by;             // "SIGTERM", "STOP" ...; empty: nobody
  std::string error;                  // empty: none
  int64_t pid = 0;                    // of rank 0, as its host
  std::string host;
  std::time_t started_at = 0, updated_at = 0;
  int ranks = 1;
  std::string identity;  // a digest of what is trained; empty: unknown
};
// One key a line, so that a shell can read it. Text is escaped and cut to 2000 bytes.
std::string ToJson(const RunStatus& status);

// The steps of the run of this identity, if the folder says that it is done.
std::optional<int64_t> StepsOfDone(const std::string& folder, const std::string& identity);

// errors/rank-R.json. Nothing of the environment is in it.
struct ErrorRecord {
  int exit_code = 0;
  int rank = 0;
  std::string host = {};
  int64_t pid = 0;
  std::optional<int64_t> step = {};  // steps done; nothing: it had not begun
  std::string message = {};
  std::time_t time = 0;
};
std::string ToJson(const ErrorRecord& record);

// Every rank has one, rank 0 writes; but where a rank must end at once (SetLastWords), it writes
// its record and the run's end itself, as far as it can: the folder may be on another host.
class RunStatusFile {
 public:
  // Nothing is written before Begin().
  RunStatusFile(std::string folder, const Process& process, int64_t total_steps,
                std::string identity = "");
  RunStatusFile(std::string folder, const Origin& self, int ranks, int64_t total_steps);
  ~RunStatusFile();  // whoever ends from now on leaves nothing
  RunStatusFile(const RunStatusFile&) = delete;
  RunStatusFile& operator=(const RunStatusFile&) = delete;

  // The folder is this run's: what an earlier run left in errors/ goes, and "running" is written.
  // `step`: steps done, from which the run goes on; `checkpoint`: where it found them. Rank 0's
  // status; agree on it.
  absl::Status Begin(int64_t step = 0, std::optional<int64_t> checkpoint = std::nullopt);

  // Writes nothing. Any rank.
  void SetStep(int64_t step) { step_ = step; }
  int64_t step() const { return step_; }  // steps done
  // Who stopped it (Requests::by), for the end to tell. Writes nothing.
  void SetStoppedBy(std::string_view by) { status_.stopped_by = by; }
  // A checkpoint of `step` is committed. Rank 0's status; agree on it.
  absl::Status Committed(int64_t step);

  // All ranks agreed on how the command ends: done, preempted (exit code 75), or failed, then also
  // with the record of the rank that failed. What cannot be written is logged. Call it once.
  void End(const absl::Status& status);

 private:
  absl::Status Write();
  ErrorRecord Record(const Origin& origin, int exit_code, const std::string& message) const;
  void LeaveLastWords(int exit_code, const std::string& message) const;

  std::string folder_;
  Origin self_;
  RunStatus status_;
  std::atomic<int64_t> step_{-1};  // read by the thread that ends the process; -1: none yet
};

}  // namespace fttrain

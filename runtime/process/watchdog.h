// Tells of a job that stands still: a rank that waits for one that died or is stuck would wait, and
// occupy its machine, for ever.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/process/activity.h"
#include "runtime/process/board.h"

namespace fttrain {

class Watchdog {
 public:
  // Called once, from the watchdog's thread, which may not call MPI: what stands still and who is
  // to blame; or, not still, what a transport reports, or which rank of this host is gone.
  using Alarm = std::function<void(const std::string& what, bool stands_still)>;

  // From a BeginStep to the next Rest it looks at `activity`, which must outlive it, and alarms
  // when nothing has begun or ended on this rank for `seconds` (anew from when a job that was
  // suspended goes on), when another rank of this host has alarmed, when one is gone, or when a
  // transport has reported an error for some seconds, in which the rank that failed says so first.
  // Until the second BeginStep it has `first_seconds` of patience, if that is more: kernels are
  // loaded, caches filled. No seconds: it never alarms, and starts no thread. `board`, this host's,
  // outlives it; null: it knows of no other rank.
  Watchdog(Activity& activity, double seconds, double first_seconds, Alarm alarm,
           Board* board = nullptr);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // A step (counted from 1) begins, or goes on after a Rest.
  void BeginStep(int64_t step);
  // Others may work for as long as they like.
  void Rest();

 private:
  using Seconds = std::chrono::duration<double>;
  struct Finding {
    std::string text;  // empty: all is well
    bool stands_still = false;
  };
  void Run();
  // Of what is seen `passed` after the look before.
  Finding Judge(const Activity::State& state, Seconds passed);
  std::string StandsStill(const Activity::State& state) const;

  Activity& activity_;
  const Seconds limit_, first_limit_;
  const Alarm alarm_;
  Board* const board_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  bool ended_ = false, expects_ = false;
  int64_t step_ = 0;
  int64_t begun_ = 0;       // calls of BeginStep
  int64_t last_seen_ = -1;  // moves and calls
  Seconds still_{0}, with_error_{0};
  std::thread thread_;
};

}  // namespace fttrain

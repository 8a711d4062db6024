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

namespace fttrain {

class Watchdog {
 public:
  // Called once, from the watchdog's thread, which may not call MPI, with what stands still.
  using Alarm = std::function<void(const std::string&)>;

  // From the first Expect to its end it looks at `activity`, which must outlive it, and alarms when
  // nothing has begun or ended on this rank for `seconds`, or when a transport reports an error.
  // Until the second Expect it has `first_seconds` of patience, if that is more: kernels are
  // loaded, caches filled. No seconds: it never alarms, and starts no thread.
  Watchdog(Activity& activity, double seconds, double first_seconds, Alarm alarm);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // A step (counted from 1) begins here.
  void Expect(int64_t step);

 private:
  using Clock = std::chrono::steady_clock;
  void Run();
  // What to say of what is seen now; empty while all is well.
  std::string Judge(const Activity::State& state, Clock::time_point now);

  Activity& activity_;
  const std::chrono::duration<double> limit_, first_limit_;
  const Alarm alarm_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  bool ended_ = false;
  int64_t step_ = 0;        // 0: nothing is expected yet
  int64_t expected_ = 0;    // calls of Expect
  int64_t last_seen_ = -1;  // moves and calls
  Clock::time_point since_;
  std::thread thread_;
};

}  // namespace fttrain

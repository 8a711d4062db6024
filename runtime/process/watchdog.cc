#include "runtime/process/watchdog.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {

Watchdog::Watchdog(Activity& activity, double seconds, double first_seconds, Alarm alarm)
    : activity_(activity),
      limit_(seconds),
      first_limit_(std::max(seconds, first_seconds)),
      alarm_(std::move(alarm)) {
  if (seconds > 0) thread_ = std::thread([this] { Run(); });
}

Watchdog::~Watchdog() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::Expect(int64_t step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  step_ = step;
  ++expected_;
}

void Watchdog::Run() {
  // Twenty looks make the limit exact enough; more than one a second would be work for nothing.
  const auto pause = std::min(limit_ / 20, std::chrono::duration<double>(1));
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_for(lock, pause, [this] { return ended_; })) {
    if (expected_ == 0) continue;
    // A look may wait for the driver: a step must not wait for it.
    lock.unlock();
    const Activity::State state = activity_.Look();
    lock.lock();
    const std::string text = Judge(state, Clock::now());
    if (text.empty()) continue;
    lock.unlock();
    alarm_(text);
    return;
  }
}

std::string Watchdog::Judge(const Activity::State& state, Clock::time_point now) {
  const std::string step = absl::StrCat("step ", step_, ": ");
  if (!state.error.empty()) return absl::StrCat(step, state.error);
  const int64_t seen = state.moves + expected_;
  if (seen != last_seen_) {
    last_seen_ = seen;
    since_ = now;
    return "";
  }
  const std::chrono::duration<double> still = now - since_;
  if (still < (expected_ == 1 ? first_limit_ : limit_)) return "";
  return absl::StrCat(
      step, "nothing has moved for ", static_cast<int64_t>(still.count()), " s; this rank waits ",
      state.waits_for.empty() ? "for no other: it computes, reads or writes"
                              : absl::StrCat("in ", absl::StrJoin(state.waits_for, " and ")));
}

}  // namespace fttrain

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

void Watchdog::BeginStep(int64_t step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  step_ = step;
  ++begun_;
  expects_ = true;
}

void Watchdog::Rest() {
  const std::lock_guard<std::mutex> lock(mutex_);
  expects_ = false;
}

void Watchdog::Run() {
  // Twenty looks make the limit exact enough; more than one a second would be work for nothing.
  const Seconds pause = std::min(limit_ / 20, Seconds(1));
  auto last = std::chrono::steady_clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_for(lock, pause, [this] { return ended_; })) {
    // The clock goes on while the process does not.
    const auto now = std::chrono::steady_clock::now();
    const Seconds passed = std::min(Seconds(now - last), 2 * pause);
    last = now;
    if (!expects_) continue;
    // A look may wait for the driver: a step must not wait for it.
    lock.unlock();
    const Activity::State state = activity_.Look();
    lock.lock();
    const std::string text = Judge(state, passed);
    if (text.empty() || !expects_) continue;
    lock.unlock();
    alarm_(text, /*stands_still=*/state.error.empty());
    return;
  }
}

std::string Watchdog::Judge(const Activity::State& state, Seconds passed) {
  const std::string step = absl::StrCat("step ", step_, ": ");
  if (!state.error.empty()) {
    with_error_ += passed;
    return with_error_ < std::min(limit_, Seconds(5)) ? "" : absl::StrCat(step, state.error);
  }
  const int64_t seen = state.moves + begun_;
  if (seen != last_seen_) {
    last_seen_ = seen;
    still_ = Seconds(0);
    return "";
  }
  still_ += passed;
  if (still_ < (begun_ == 1 ? first_limit_ : limit_)) return "";
  return absl::StrCat(
      step, "nothing has moved for ", static_cast<int64_t>(still_.count()), " s; this rank waits ",
      state.waits_for.empty() ? "for no other: it computes, reads or writes"
                              : absl::StrCat("in ", absl::StrJoin(state.waits_for, " and ")));
}

}  // namespace fttrain

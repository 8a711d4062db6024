#include "runtime/process/watchdog.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {
namespace {

// A look that comes so late means that the process was suspended, however busy the machine is.
constexpr std::chrono::duration<double> kSuspended{2};

std::string WaitsIn(const Activity::State& state) {
  if (state.waits_for.empty()) {
    return "this rank waits for no other: it computes, reads or writes";
  }
  return absl::StrCat("this rank waits in ", absl::StrJoin(state.waits_for, " and "));
}

}  // namespace

Watchdog::Watchdog(Activity& activity, double seconds, double first_seconds, Alarm alarm,
                   Board* board)
    : activity_(activity),
      limit_(seconds),
      first_limit_(std::max(seconds, first_seconds)),
      alarm_(std::move(alarm)),
      board_(seconds > 0 ? board : nullptr) {
  if (seconds <= 0) return;
  if (board_ != nullptr) board_->Join();
  thread_ = std::thread([this] { Run(); });
}

Watchdog::~Watchdog() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (board_ != nullptr) board_->Leave();
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
  using Clock = std::chrono::steady_clock;
  // Twenty looks make the limit exact enough; others hear of this rank four times a second.
  const Seconds pause = std::min(limit_ / 20, Seconds(0.25));
  auto last = Clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_for(lock, pause, [this] { return ended_; })) {
    // The clock goes on while the process does not. The others may wake up later than this one.
    const auto now = Clock::now();
    if (now - last > kSuspended + 2 * pause) still_ = with_error_ = Seconds(0);
    const Seconds passed = std::min(Seconds(now - last), 2 * pause);
    last = now;
    const RankSeen::Phase phase = begun_ == 0 ? RankSeen::Phase::kNotBegun
                                  : expects_  ? RankSeen::Phase::kInStep
                                              : RankSeen::Phase::kBetweenSteps;
    const int64_t step = step_;
    // A look may wait for the driver: a step must not wait for it.
    lock.unlock();
    if (board_ != nullptr) board_->Beat(now);
    const Activity::State state = activity_.Look();
    if (board_ != nullptr) board_->Write(state, phase, step, now);
    lock.lock();
    if (!expects_) continue;
    const Finding finding = Judge(state, passed);
    if (finding.text.empty()) continue;
    lock.unlock();
    alarm_(finding.text, finding.stands_still);
    return;
  }
}

Watchdog::Finding Watchdog::Judge(const Activity::State& state, Seconds passed) {
  const std::string step = absl::StrCat("step ", step_, ": ");
  if (board_ != nullptr) {
    if (board_->IsJudged()) return {step + StandsStill(state), true};
    const std::string gone = board_->Gone(std::chrono::steady_clock::now());
    if (!gone.empty()) return {absl::StrCat(step, gone, "; ", WaitsIn(state)), false};
  }
  if (!state.error.empty()) {
    with_error_ += passed;
    if (with_error_ < std::min(limit_, Seconds(5))) return {};
    return {absl::StrCat(step, state.error), false};
  }
  const int64_t seen = state.moves + begun_;
  if (seen != last_seen_) {
    last_seen_ = seen;
    still_ = Seconds(0);
    return {};
  }
  still_ += passed;
  if (still_ < (begun_ == 1 ? first_limit_ : limit_)) return {};
  return {step + StandsStill(state), true};
}

std::string Watchdog::StandsStill(const Activity::State& state) const {
  const std::string verdict =
      board_ == nullptr ? "" : absl::StrCat(": ", board_->Judge(std::chrono::steady_clock::now()));
  return absl::StrCat("nothing has moved for ", static_cast<int64_t>(still_.count()), " s", verdict,
                      "; ", WaitsIn(state));
}

}  // namespace fttrain

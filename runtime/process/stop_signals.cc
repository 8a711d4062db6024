#include "runtime/process/stop_signals.h"

#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int64_t kRepeatNanoseconds = 500'000'000;

// What handlers may touch.
std::atomic<int> g_stop{0};            // the first stop signal's number
std::atomic<int64_t> g_first_stop{0};  // when it came
std::atomic<bool> g_save{false};
std::atomic<bool> g_exists{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);

int64_t Now() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void OnStop(int signal) {
  const int saved_errno = errno;
  int none = 0;
  if (g_stop.compare_exchange_strong(none, signal)) {
    g_first_stop = Now();
  } else if (g_first_stop != 0 && Now() - g_first_stop >= kRepeatNanoseconds) {
    // Pending until the handler returns, which is before anything else happens.
    ::signal(signal, SIG_DFL);
    raise(signal);
  }
  errno = saved_errno;
}

void OnSave(int) { g_save = true; }

const char* NameOf(int signal) {
  switch (signal) {
    case 0:
      return nullptr;
    case SIGTERM:
      return "SIGTERM";
    case SIGUSR1:
      return "SIGUSR1";
    default:
      return "SIGINT";
  }
}

}  // namespace

StopSignals::StopSignals() {
  FT_CHECK(!g_exists.exchange(true), "two StopSignals in a process");
  g_stop = 0;
  g_first_stop = 0;
  g_save = false;
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  // Reads and writes that a signal interrupts go on; no code needs to know of signals.
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    action.sa_handler = kSignals[i] == SIGUSR2 ? OnSave : OnStop;
    FT_CHECK(sigaction(kSignals[i], &action, &before_[i]) == 0, "signal ", kSignals[i]);
  }
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  g_exists = false;
}

StopSignals::Requests StopSignals::Look() {
  Requests requests;
  requests.signal = NameOf(g_stop);
  requests.stop = requests.signal != nullptr;
  requests.save = g_save.exchange(false);
  return requests;
}

}  // namespace fttrain

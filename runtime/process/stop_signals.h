// Signals by which the outside asks a run to stop or to save.
#pragma once

#include <signal.h>

namespace fttrain {

// While it lives SIGTERM, SIGUSR1 and SIGINT mean "save and stop at the step's end" and SIGUSR2
// "save at the step's end". The handlers set lock-free atomics and nothing else. A second stop
// signal, half a second after the first or later, ends the process at once as if there were no
// handler; what comes sooner is the same request twice, as `timeout` and batch systems send it to a
// process and to its group. One at a time in a process, made after MPI has started.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();  // the handlers are what they were
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  struct Requests {
    bool stop = false;             // stays
    bool save = false;             // SIGUSR2 since the last look
    const char* signal = nullptr;  // the first that asked to stop: "SIGTERM"
  };
  // Costs no system call.
  Requests Look();

 private:
  static constexpr int kSignals[] = {SIGTERM, SIGUSR1, SIGINT, SIGUSR2};
  struct sigaction before_[4];
};

}  // namespace fttrain

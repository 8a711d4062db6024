// What the outside asks of a run at the end of a step: by signals, and by the files STOP and SAVE
// in its output folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "runtime/process/stop_signals.h"

namespace fttrain {

struct Requests {
  bool stop = false;  // save, and leave with kExitPreempted
  bool save = false;  // save; true as well where stop is
  // Who asks to stop: "SIGTERM", "SIGUSR1", "SIGINT" or "STOP" (the file); empty if nobody does.
  std::string by = {};
};

// As a number of which an all-reduce by maximum keeps what matters most of all ranks': nothing (0)
// < save < stop, which includes a save; a STOP file before signals, since it asks to stay stopped.
int64_t EncodeRequests(const Requests& requests);
// Of a number that EncodeRequests made; any other asks for nothing.
Requests DecodeRequests(int64_t code);

// This rank's ear.
class Control {
 public:
  // `signals` may be null and must outlive it. `folder`: where STOP and SAVE are looked for, empty
  // on all ranks but 0. Files that are there already count.
  Control(StopSignals* signals, std::string folder,
          std::chrono::milliseconds between_looks = std::chrono::seconds(1));

  // What is asked now; a file only by a look into the folder, once in `between_looks` at most.
  Requests Look();

  // What was asked (by any rank, decoded) is done: the files are removed on the rank that looks for
  // them. One that cannot be removed is told and counts no more.
  void Done(const Requests& requests);

 private:
  struct File {
    std::string path;
    bool counts = true;
  };
  void Remove(File& file);

  StopSignals* signals_;
  File stop_, save_;  // empty paths: none
  std::chrono::milliseconds between_looks_;
  std::chrono::steady_clock::time_point next_look_;
};

}  // namespace fttrain

// One process at a time at some work.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

// The kernel's lock (flock) on a file, which goes with its process however that ends; on a network
// file system it holds between hosts as far as that passes locks on.
class FileLock {
 public:
  enum class State {
    kHeld,
    kTaken,    // another has it
    kNoLocks,  // the file system has none
    kNoFile    // it cannot be made
  };
  // Makes the file, with `mode`, if it is not there. Waits for another's end if `waits`: then never
  // kTaken.
  static std::unique_ptr<FileLock> Take(const std::string& path, mode_t mode, bool waits);
  // Waits until no other has it; `told`, if there is one, is called once before that. Held, or
  // kNoLocks; as FailedWrite where the file cannot be made.
  static absl::StatusOr<std::unique_ptr<FileLock>> WaitFor(const std::string& path,
                                                           const std::function<void()>& told);
  ~FileLock();  // of one that is held the file is gone
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  State state() const { return state_; }
  bool holds() const { return state_ == State::kHeld; }
  int error() const { return error_; }            // errno of kNoLocks and kNoFile
  int descriptor() const { return descriptor_; }  // of the file, for reading and writing

 private:
  FileLock(std::string path, State state, int descriptor, int error)
      : path_(std::move(path)), state_(state), descriptor_(descriptor), error_(error) {}
  std::string path_;
  State state_;
  int descriptor_, error_;
};

}  // namespace fttrain

// One process at a time at some work.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

// The kernel's lock (flock) on a file, which goes with its process however that ends.
class FileLock {
 public:
  // Waits until no other has it; `wait`, if there is one, is called once before that. Where the
  // file system has no locks this one is empty: `holds` is false. PermissionDenied,
  // ResourceExhausted, Unavailable where the file cannot be made.
  static absl::StatusOr<std::unique_ptr<FileLock>> Take(const std::string& path,
                                                        const std::function<void()>& wait);
  ~FileLock();  // and the file is gone
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  bool holds() const { return descriptor_ >= 0; }

 private:
  FileLock(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace fttrain

// One run at a time in a folder.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

// The kernel's lock (flock) on FOLDER/.lock, which goes with its process however that ends; on a
// network file system it holds between hosts as far as that passes locks on.
class FolderLock {
 public:
  // Unavailable, with folder, host and process and the exit code kExitCannotCreate, while another
  // has the lock. Where the file system has no locks this one is empty, and a note says so.
  // `folder` exists.
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& folder);
  ~FolderLock();  // and the file is gone
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  FolderLock(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_ = -1;  // -1: empty
};

}  // namespace fttrain

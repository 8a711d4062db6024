// One run at a time in a folder.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/files/file_lock.h"

namespace fttrain {

// The lock on FOLDER/.lock. Unavailable, with folder, host and process and the exit code
// kExitCannotCreate, while another has it. Where the file system has no locks this one is not held,
// and a note says so. `folder` exists.
absl::StatusOr<std::unique_ptr<FileLock>> LockFolder(const std::string& folder);

}  // namespace fttrain

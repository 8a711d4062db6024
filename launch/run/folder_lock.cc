#include "launch/run/folder_lock.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "launch/exit_code.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// "process 12 on host node3".
std::string ThisProcess() {
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) != 0) std::strcpy(host, "unknown");
  return absl::StrCat("process ", getpid(), " on host ", host);
}

absl::Status InUse(const std::string& folder, int descriptor) {
  char owner[300] = {};
  const ssize_t bytes = pread(descriptor, owner, sizeof(owner) - 1, 0);
  const std::string text(absl::StripSuffix(owner, "\n"));
  return WithExitCode(absl::UnavailableError(absl::StrCat(
                          "output_dir ", folder, ": another run writes there",
                          bytes > 0 ? absl::StrCat(" (", Printable(text), ")") : std::string(),
                          "; wait for its end, or choose another folder")),
                      kExitCannotCreate);
}

absl::Status CannotWrite(const std::string& folder, const std::string& path, int error) {
  const std::string message =
      absl::StrCat("output_dir ", folder, ": cannot write ", path, ": ", std::strerror(error));
  return error == EACCES || error == EROFS
             ? absl::PermissionDeniedError(message)
             : WithExitCode(absl::UnavailableError(message), kExitCannotCreate);
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> LockFolder(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/.lock");
  std::unique_ptr<FileLock> lock = FileLock::Take(path, 0666, /*waits=*/false);
  switch (lock->state()) {
    case FileLock::State::kNoFile:
      return CannotWrite(folder, path, lock->error());
    case FileLock::State::kTaken:
      return InUse(folder, lock->descriptor());
    case FileLock::State::kNoLocks:
      LogInfo(absl::StrCat("note       output_dir ", folder, ": its file system has no locks (",
                           std::strerror(lock->error()), "); start no second run there"));
      break;
    case FileLock::State::kHeld: {
      const std::string owner = ThisProcess() + "\n";
      // For another run's message; without it the lock holds as well.
      const int descriptor = lock->descriptor();
      if (ftruncate(descriptor, 0) == 0) (void)!write(descriptor, owner.data(), owner.size());
    }
  }
  return lock;
}

}  // namespace fttrain

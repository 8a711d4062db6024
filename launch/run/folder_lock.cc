#include "launch/run/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
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

// A run that ends takes its file away, so that one opened before may have a lock on a file that is
// no longer there.
bool IsStillThere(int descriptor, const std::string& path) {
  struct stat opened, there;
  return fstat(descriptor, &opened) == 0 && lstat(path.c_str(), &there) == 0 &&
         opened.st_dev == there.st_dev && opened.st_ino == there.st_ino;
}

absl::Status InUse(const std::string& folder, int descriptor) {
  char owner[300] = {};
  const ssize_t bytes = pread(descriptor, owner, sizeof(owner) - 1, 0);
  close(descriptor);
  const std::string text(absl::StripSuffix(owner, "\n"));
  return WithExitCode(absl::UnavailableError(absl::StrCat(
                          "output_dir ", folder, ": another run writes there",
                          bytes > 0 ? absl::StrCat(" (", Printable(text), ")") : std::string(),
                          "; wait for its end, or choose another folder")),
                      kExitCannotCreate);
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderLock>> FolderLock::Take(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/.lock");
  while (true) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0) {
      const std::string message =
          absl::StrCat("output_dir ", folder, ": cannot write ", path, ": ", std::strerror(errno));
      return errno == EACCES || errno == EROFS
                 ? absl::PermissionDeniedError(message)
                 : WithExitCode(absl::UnavailableError(message), kExitCannotCreate);
    }
    const int locked = flock(descriptor, LOCK_EX | LOCK_NB);
    if (locked != 0 && errno == EWOULDBLOCK) return InUse(folder, descriptor);
    if (locked != 0 && errno != EINTR) {
      LogInfo(absl::StrCat("note       output_dir ", folder, ": its file system has no locks (",
                           std::strerror(errno), "); start no second run there"));
      close(descriptor);
      return absl::WrapUnique(new FolderLock(path, -1));
    }
    if (locked == 0 && IsStillThere(descriptor, path)) {
      const std::string owner = ThisProcess() + "\n";
      // For another run's message; without it the lock holds as well.
      if (ftruncate(descriptor, 0) == 0) (void)!write(descriptor, owner.data(), owner.size());
      return absl::WrapUnique(new FolderLock(path, descriptor));
    }
    close(descriptor);
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ < 0) return;
  unlink(path_.c_str());
  close(descriptor_);
}

}  // namespace fttrain

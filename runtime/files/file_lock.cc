#include "runtime/files/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/memory/memory.h"
#include "runtime/files/file_error.h"

namespace fttrain {
namespace {

// Who was done has taken the file away: then this is a lock on a file that is no longer there.
bool IsStillThere(int descriptor, const std::string& path) {
  struct stat opened, there;
  return fstat(descriptor, &opened) == 0 && lstat(path.c_str(), &there) == 0 &&
         opened.st_dev == there.st_dev && opened.st_ino == there.st_ino;
}

}  // namespace

std::unique_ptr<FileLock> FileLock::Take(const std::string& path, mode_t mode, bool waits) {
  while (true) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
    const auto found = [&](State state, int error) {
      return absl::WrapUnique(new FileLock(path, state, descriptor, error));
    };
    if (descriptor < 0) return found(State::kNoFile, errno);
    const bool locked = flock(descriptor, LOCK_EX | (waits ? 0 : LOCK_NB)) == 0;
    if (!locked && errno == EWOULDBLOCK) return found(State::kTaken, 0);
    if (!locked && errno != EINTR) return found(State::kNoLocks, errno);
    if (locked && IsStillThere(descriptor, path)) return found(State::kHeld, 0);
    close(descriptor);
  }
}

absl::StatusOr<std::unique_ptr<FileLock>> FileLock::WaitFor(const std::string& path,
                                                            const std::function<void()>& told) {
  constexpr mode_t kMode = 0600;
  std::unique_ptr<FileLock> lock = Take(path, kMode, /*waits=*/false);
  if (lock->state() == State::kTaken) {
    if (told) told();
    lock = Take(path, kMode, /*waits=*/true);
  }
  if (lock->state() == State::kNoFile) return FailedWrite(lock->error(), "write", path, 0);
  if (lock->state() == State::kNoLocks) unlink(path.c_str());
  return lock;
}

FileLock::~FileLock() {
  if (holds()) unlink(path_.c_str());
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace fttrain

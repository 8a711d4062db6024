#include "data/packing/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

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

absl::StatusOr<std::unique_ptr<FileLock>> FileLock::Take(const std::string& path,
                                                         const std::function<void()>& wait) {
  bool told = false;
  for (;;) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) return FailedWrite(errno, "write", path, 0);
    int locked = flock(descriptor, LOCK_EX | LOCK_NB);
    if (locked != 0 && errno == EWOULDBLOCK) {
      if (wait && !told) wait();
      told = true;
      do {
        locked = flock(descriptor, LOCK_EX);
      } while (locked != 0 && errno == EINTR);
    }
    if (locked != 0 && errno != EINTR) {
      close(descriptor);
      unlink(path.c_str());
      return std::unique_ptr<FileLock>(new FileLock(path, -1));
    }
    if (locked == 0 && IsStillThere(descriptor, path)) {
      return std::unique_ptr<FileLock>(new FileLock(path, descriptor));
    }
    close(descriptor);
  }
}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  unlink(path_.c_str());
  close(descriptor_);
}

}  // namespace fttrain

#include "runtime/files/system_calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

namespace fttrain {

int SystemCalls::Open(const char* path, int flags, mode_t mode) { return open(path, flags, mode); }

int SystemCalls::Reserve(int fd, int64_t size_bytes) {
  // Not posix_fallocate: where the file system cannot reserve, that writes to every block.
  return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size_bytes);
}

ssize_t SystemCalls::Write(int fd, const void* data, size_t size_bytes) {
  return write(fd, data, size_bytes);
}

ssize_t SystemCalls::Read(int fd, void* destination, size_t size_bytes, int64_t offset) {
  return pread(fd, destination, size_bytes, offset);
}

int SystemCalls::Sync(int fd) { return fsync(fd); }
int SystemCalls::Close(int fd) { return close(fd); }
int SystemCalls::StatOpen(int fd, struct stat* info) { return fstat(fd, info); }
int SystemCalls::StatEntry(const char* path, struct stat* info) { return lstat(path, info); }
int SystemCalls::MakeFolder(const char* path) { return mkdir(path, 0777); }

int SystemCalls::RenameNoReplace(const char* from, const char* to) {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

int SystemCalls::Rename(const char* from, const char* to) { return rename(from, to); }
int SystemCalls::RemoveFile(const char* path) { return unlink(path); }
int SystemCalls::RemoveFolder(const char* path) { return rmdir(path); }

int SystemCalls::List(const char* path, std::vector<std::string>* names) {
  names->clear();
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -1;
  DIR* const folder = fdopendir(fd);
  if (folder == nullptr) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  errno = 0;
  while (const dirent* entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names->emplace_back(name);
  }
  const int error = errno;
  closedir(folder);
  errno = error;
  return error == 0 ? 0 : -1;
}

}  // namespace fttrain

#include "runtime/files/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/file_error.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// What stands in place of a large file in a clone that Git LFS has not filled. The pointer is below
// 1024 bytes by its specification.
constexpr std::string_view kLfsMark = "version https://git-lfs";
constexpr int64_t kMaxLfsBytes = 1024;

// Says so where what is missing is what a symbolic link names.
absl::Status CannotOpen(int error, const std::string& path) {
  char target[1024];
  const ssize_t length = error == ENOENT ? readlink(path.c_str(), target, sizeof(target)) : -1;
  if (length < 0) return FailedRead(error, "open", path);
  return absl::NotFoundError(absl::StrCat("cannot open ", path, ": it is a link to ",
                                          std::string(target, static_cast<size_t>(length)),
                                          ", which is not there (an incomplete download?)"));
}

// A descriptor of an existing regular file.
absl::StatusOr<int> OpenAny(const std::string& path, int64_t* size_bytes) {
  // O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing for regular files.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return CannotOpen(errno, path);
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  *size_bytes = info.st_size;
  return fd;
}

bool IsLfsPointer(int fd, int64_t size_bytes) {
  char begin[kLfsMark.size()];
  return size_bytes < kMaxLfsBytes && ReadExactly(fd, begin, sizeof(begin), 0) &&
         std::string_view(begin, sizeof(begin)) == kLfsMark;
}

// All of an open file, which it closes.
absl::StatusOr<std::string> ReadAndClose(int fd, int64_t size_bytes, const std::string& path,
                                         int64_t max_bytes) {
  if (size_bytes > max_bytes) {
    close(fd);
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", size_bytes, " bytes exceed the limit of ", max_bytes));
  }
  std::string contents(size_bytes, '\0');
  const bool complete = ReadExactly(fd, contents.data(), size_bytes, 0);
  const int error = errno;
  close(fd);
  if (complete) return contents;
  if (error != 0) return FailedRead(error, "read", path);
  return absl::DataLossError(absl::StrCat(path, ": shrank while read"));
}

}  // namespace

absl::StatusOr<int> OpenRegularFile(const std::string& path, int64_t* size_bytes) {
  FT_ASSIGN_OR_RETURN(const int fd, OpenAny(path, size_bytes));
  if (!IsLfsPointer(fd, *size_bytes)) return fd;
  close(fd);
  return absl::InvalidArgumentError(absl::StrCat(
      path, " is a Git LFS pointer, not the file itself: run `git lfs pull` in ", FolderOf(path)));
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  int64_t size_bytes = 0;
  FT_ASSIGN_OR_RETURN(const int fd, OpenRegularFile(path, &size_bytes));
  return ReadAndClose(fd, size_bytes, path, max_bytes);
}

absl::StatusOr<std::string> ReadFileAsItIs(const std::string& path, int64_t max_bytes) {
  int64_t size_bytes = 0;
  FT_ASSIGN_OR_RETURN(const int fd, OpenAny(path, &size_bytes));
  return ReadAndClose(fd, size_bytes, path, max_bytes);
}

bool ReadExactly(int fd, void* destination, int64_t size_bytes, int64_t offset) {
  char* to = static_cast<char*>(destination);
  while (size_bytes > 0) {
    // Linux moves at most 2 GiB a call.
    const ssize_t got = pread(fd, to, std::min<int64_t>(size_bytes, 1 << 30), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = 0;
    if (got <= 0) return false;
    to += got;
    offset += got;
    size_bytes -= got;
  }
  return true;
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view contents) {
  AtomicFile file;
  FT_RETURN_IF_ERROR(file.Open(path, static_cast<int64_t>(contents.size())));
  FT_RETURN_IF_ERROR(file.Append(contents.data(), static_cast<int64_t>(contents.size())));
  return file.Commit();
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_path_.c_str());
}

absl::Status AtomicFile::Open(const std::string& path, int64_t size_bytes) {
  FT_CHECK(fd_ < 0, path, ": opened twice");
  path_ = path;
  temporary_path_ = absl::StrCat(path, ".tmp-", getpid());
  expected_bytes_ = size_bytes;
  // Renaming over it would replace a device or a link (/dev/null, say) by a file.
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::UnavailableError(
        absl::StrCat("cannot write ", path, ": it exists and is not a regular file"));
  }
  unlink(temporary_path_.c_str());  // left by a dead process that had our number
  // O_EXCL also refuses a planted symbolic link.
  fd_ = open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) return Fail(errno, "create");
  if (size_bytes > 0 && fallocate(fd_, 0, 0, size_bytes) != 0) {
    // Only what certainly stops the write; many filesystems cannot reserve.
    const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    if (full) return Fail(errno, "reserve space for");
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Append(const void* data, int64_t size_bytes) {
  FT_CHECK(fd_ >= 0, path_, ": not open");
  const char* bytes = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t wrote = write(fd_, bytes, std::min<int64_t>(size_bytes, 1 << 30));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return Fail(errno, "write");
    bytes += wrote;
    size_bytes -= wrote;
    written_bytes_ += wrote;
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  FT_CHECK(fd_ >= 0, path_, ": not open");
  // Reserved, but not written.
  if (written_bytes_ < expected_bytes_ && ftruncate(fd_, written_bytes_) != 0) {
    return Fail(errno, "truncate");
  }
  if (fsync(fd_) != 0) return Fail(errno, "fsync");
  if (rename(temporary_path_.c_str(), path_.c_str()) != 0) return Fail(errno, "rename to");
  const int closed = close(std::exchange(fd_, -1));
  if (closed != 0) return Fail(errno, "close");
  // Makes the rename itself durable; filesystems that cannot do it for folders say EINVAL.
  const int folder = open(FolderOf(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && (fsync(folder) == 0 || errno == EINVAL);
  const int error = errno;
  if (folder >= 0) close(folder);
  return synced ? absl::OkStatus() : Fail(error, "fsync the folder of");
}

absl::Status AtomicFile::Fail(int error, const char* what) {
  const absl::Status failed = FailedWrite(error, what, path_, expected_bytes_ - written_bytes_);
  if (fd_ >= 0) {
    close(std::exchange(fd_, -1));
    unlink(temporary_path_.c_str());
  }
  return failed;
}

}  // namespace fttrain

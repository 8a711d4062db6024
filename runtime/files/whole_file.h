// Small files, whole. Errors carry the path and the errno text; a full disk also the bytes needed
// and free.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain {

// Contents of a regular file (symbolic links are followed). NotFound, InvalidArgument if it is
// larger than max_bytes or refused by OpenRegularFile.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 30);
// The same of a file that is copied, not understood: a Git LFS pointer is as good as another.
absl::StatusOr<std::string> ReadFileAsItIs(const std::string& path,
                                           int64_t max_bytes = int64_t{1} << 30);

// Writes PATH.tmp-<pid>, fsyncs, renames: PATH is the old or the new file, never a part. The folder
// must exist. On an error the temporary file is gone.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// Opens an existing regular file for reading and returns its descriptor, which the caller closes;
// the size goes to *size_bytes. Never blocks on a pipe. InvalidArgument for what is no regular
// file, and for a Git LFS pointer in the place of one, with the command that gets it.
absl::StatusOr<int> OpenRegularFile(const std::string& path, int64_t* size_bytes);

// Reads exactly size_bytes at `offset`; false and errno (0: the file ended) otherwise.
bool ReadExactly(int fd, void* destination, int64_t size_bytes, int64_t offset);

// A file being written: created under a temporary name beside PATH, appended to, then put in place.
// Refuses a PATH that exists and is not a regular file. Errors: PermissionDenied, ResourceExhausted
// (the bytes do not fit), Unavailable (every other failure to write). Not thread-safe.
class AtomicFile {
 public:
  AtomicFile() = default;
  ~AtomicFile();  // removes the temporary file unless Commit() succeeded
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Reserves size_bytes where the filesystem can, so that a full disk is found before any work.
  absl::Status Open(const std::string& path, int64_t size_bytes);
  absl::Status Append(const void* data, int64_t size_bytes);
  absl::Status Commit();  // fsync, rename, fsync of the folder
  const std::string& path() const { return path_; }

 private:
  absl::Status Fail(int error, const char* what);

  std::string path_, temporary_path_;
  int fd_ = -1;
  int64_t expected_bytes_ = 0, written_bytes_ = 0;
};

}  // namespace fttrain

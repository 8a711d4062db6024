// The file calls of code that must survive a power cut, as one seam: tests put another file system
// behind it, or the real one over system calls that fail (system_calls.h). Every call names a whole
// path. No call follows a symbolic link in the last part of its path.
// Errors, all with path and reason: ResourceExhausted (with the bytes needed and free; also a quota
// and a limit on the size of files), PermissionDenied, NotFound, AlreadyExists, InvalidArgument (a
// link, or no file or no folder where one is needed), DataLoss (a file that ends too early),
// Unavailable (the rest, EIO and EXDEV among it).
// Calls that a signal interrupts are made again. A failed fsync or close never is: what was written
// may be lost although a second one succeeds, so that the caller writes another file instead.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain {

enum class EntryKind { kFile, kFolder, kLink, kOther };

struct FolderEntry {
  std::string name;
  EntryKind kind = EntryKind::kOther;  // of the entry itself: links are not followed
};

// A new file that is written from its beginning to its end. Not thread-safe.
class NewFile {
 public:
  virtual ~NewFile() = default;  // closes it, whatever that says: of a file that is given up

  virtual absl::Status Append(const void* data, int64_t size_bytes) = 0;  // all of it, or an error
  virtual absl::Status Sync() = 0;
  virtual absl::Status Close() = 0;  // last and once; also after an error of the others
};

// Thread-safe, also for several ranks on one network file system.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Creates a file; what is there already, a link among it, is AlreadyExists. Reserves
  // expected_bytes where the file system can, so that a full disk is found before any work.
  virtual absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& path,
                                                          int64_t expected_bytes) = 0;
  virtual absl::Status MakeFolder(const std::string& path) = 0;  // its parent exists
  // Makes lasting what was created, renamed and removed in a folder. OK where the file system
  // cannot do so for folders.
  virtual absl::Status SyncFolder(const std::string& path) = 0;
  // AlreadyExists rather than replace. File systems that cannot promise it are asked before, which
  // is safe only while one process at a time renames to `to`.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  // Renames a file, over another or a link if there is one.
  virtual absl::Status Replace(const std::string& from, const std::string& to) = 0;
  virtual absl::Status RemoveFile(const std::string& path) = 0;    // or a link, or a pipe
  virtual absl::Status RemoveFolder(const std::string& path) = 0;  // an empty one

  virtual absl::StatusOr<std::vector<FolderEntry>> List(const std::string& path) = 0;  // sorted
  virtual absl::StatusOr<std::optional<EntryKind>> Kind(
      const std::string& path) = 0;  // nothing there
  // Of a regular file.
  virtual absl::StatusOr<int64_t> Size(const std::string& path) = 0;
  virtual absl::Status ReadAt(const std::string& path, int64_t offset, void* destination,
                              int64_t size_bytes) = 0;
};

// The machine's own.
FileSystem& RealFileSystem();

// The same over other system calls, which must outlive it.
class SystemCalls;
std::unique_ptr<FileSystem> FileSystemOver(SystemCalls& calls);

// Removes a folder and all in it; links in it are removed, not followed. OK if there is none. Goes
// on after an error and returns the first.
absl::Status RemoveTree(FileSystem& files, const std::string& path);

// Creates a file with these contents, syncs and closes it. The folder is the caller's to sync. On
// an error the file may be there in part.
absl::Status WriteNewFile(FileSystem& files, const std::string& path, const std::string& contents);

// All of a file of at most max_bytes.
absl::StatusOr<std::string> ReadAll(FileSystem& files, const std::string& path, int64_t max_bytes);

}  // namespace fttrain

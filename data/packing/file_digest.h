// Digests of large files, remembered while nothing happens to them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

// A file as the file system knows it, in words: where it is, its size, when it and its entry
// changed. Another text is another file or another state of it. Errors as FailedRead.
struct FileState {
  std::string text;
  int64_t bytes = 0;
  int64_t changed_nanoseconds = 0;  // the later of both times
};
absl::StatusOr<FileState> StateOf(const std::string& path);

// SHA-256 over the SHA-256 of each 16 MiB, on several threads.
absl::StatusOr<std::string> DigestOfFile(const std::string& path, int threads);

// The same, kept in FOLDER/digests by the file's state: a file of gigabytes is read once. One that
// changed within the last two seconds is read again: it may change once more within a tick of the
// file system's clock. Processes that ask at once wait for the first.
absl::StatusOr<std::string> RememberedDigest(const std::string& path, const std::string& folder,
                                             int threads);

// Of the files in a model's folder, and the folders in it, that say how text becomes tokens: all
// but weights and texts for people.
absl::StatusOr<std::string> DigestOfTokenizerFiles(const std::string& folder);

}  // namespace fttrain

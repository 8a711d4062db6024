// The folder a run writes to. Rank 0 alone has one.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "absl/status/statusor.h"
#include "launch/run/folder_lock.h"

namespace fttrain {

// What a test may have otherwise.
struct FolderCalls {
  std::function<std::error_code(const std::filesystem::path& from, const std::filesystem::path& to)>
      rename;
  // That this user may still write in `folder`; nothing where the file system does not say.
  std::function<std::optional<int64_t>(const std::string& folder)> free_bytes;
};
FolderCalls SystemsOwn();

// Until it is gone no other run writes there (LockFolder).
class OutputFolder {
 public:
  // Creates the folder and its parents, locks it, and proves that it can be written to. What is in
  // it stays as it is.
  static absl::StatusOr<std::unique_ptr<OutputFolder>> Open(const std::string& folder,
                                                            FolderCalls system = SystemsOwn());

  // ResourceExhausted, with both numbers, if the result's `bytes` do not fit into what is free.
  absl::Status CheckRoom(int64_t bytes) const;

  // Moves what an earlier run left there (metrics.jsonl, config.yaml, adapter/, model/,
  // checkpoints/, run_status.json, errors/) to
  // previous-K/, the first free K, so that nothing is lost; returns that folder's path, empty if
  // there was nothing. To be called when training begins: a run that fails before leaves the
  // earlier one's result where it is. What cannot be renamed is copied. On an error nothing
  // is lost: what was moved is back in its place, or whole in previous-K/.
  absl::StatusOr<std::string> KeepEarlierResults();

 private:
  OutputFolder(std::string folder, FolderCalls system, std::unique_ptr<FileLock> lock)
      : folder_(std::move(folder)), system_(std::move(system)), lock_(std::move(lock)) {}
  std::error_code Move(const std::filesystem::path& from, const std::filesystem::path& to) const;

  std::string folder_;
  FolderCalls system_;
  std::unique_ptr<FileLock> lock_;
};

// InvalidArgument if `path`, which the run reads under the key `key`, is among what
// KeepEarlierResults would move away.
absl::Status CheckIsNotMoved(const std::string& key, const std::string& path,
                             const std::string& folder);

// Creates the folder of files without a name, and its parents, on this rank's host. Unavailable,
// with the folder. Any rank; agree on the status.
absl::Status MakeScratchFolder(const std::string& folder);

}  // namespace fttrain

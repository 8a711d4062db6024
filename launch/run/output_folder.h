// The folder a run writes to.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

// Creates the folder (and its parents) and proves that it can be written to, before any weight is
// read. What an earlier run left there (metrics.jsonl, config.yaml, adapter/, model/) is moved to
// previous-K/, the first free K, so that nothing is lost; returns that folder's path, empty if
// there was nothing. Rank 0 only.
absl::StatusOr<std::string> PrepareOutputFolder(const std::string& folder);

// InvalidArgument if `path`, which the run reads under the key `key`, is among what
// PrepareOutputFolder would move away.
absl::Status CheckIsNotMoved(const std::string& key, const std::string& path,
                             const std::string& folder);

// Creates the folder of files without a name, and its parents, on this rank's host. Unavailable,
// with the folder. Any rank; agree on the status.
absl::Status MakeScratchFolder(const std::string& folder);

}  // namespace fttrain

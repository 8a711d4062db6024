// Checkpoints of a run of two ranks whose every byte is known, for the tests of this room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/committed.h"
#include "launch/checkpoint/shard.h"
#include "runtime/files/file_system.h"

namespace fttrain {

inline constexpr int kRanks = 2;

// What `attempt` at `step` stores, and all that Commit wants of it. Values depend on both, so that
// a mixture is seen.
struct Attempt {
  int64_t step;
  std::string nonce;
};

// Stages, writes and commits; abandons what fails.
absl::Status Save(FileSystem& files, const std::string& output_folder, const Attempt& attempt,
                  bool read_back = true);

// Writes rank 0's shard alone, as far as a run comes that is then killed.
absl::StatusOr<StagedStep> HalfSave(FileSystem& files, const std::string& output_folder,
                                    const Attempt& attempt);

// Why a checkpoint does not hold exactly what Save wrote at its step, in one attempt; empty if it
// does.
std::string Difference(FileSystem& files, const Committed& checkpoint);

// Steps, newest first.
std::vector<int64_t> Steps(const Listing& listing);

}  // namespace fttrain

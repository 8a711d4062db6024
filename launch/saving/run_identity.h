// What a run is, so that a checkpoint of one is not gone on from by another.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/checkpoint/manifest.h"
#include "launch/run/train_plan.h"

namespace fttrain {

struct RunIdentity {
  std::map<std::string, std::string> keys;  // config::ResultKeys
  // "model": of the base's files; "adapter.init_from", where there is one; "data.train[i]": of what
  // its rows became, so also of tokenizer and template.
  std::map<std::string, std::string> digests;
  int64_t rows_per_step = 0;
  // Of what held-out rows became; empty: there are none. In `digests`, too, where evaluations
  // decide the result.
  std::string held_out = {};
};

// Reads the base's headers and samples of its tensors, not all of them. NotFound, DataLoss.
absl::StatusOr<RunIdentity> IdentityOf(const TrainPlan& plan);

// One digest of all of it.
std::string DigestOf(const RunIdentity& identity);

// Into a manifest's digests and notes, and back.
void AddIdentity(const RunIdentity& identity, Manifest& manifest);
RunIdentity IdentityIn(const Manifest& manifest);

// InvalidArgument, with every difference, unless they are alike but for what `allowed` names
// (train.allow_changed). `where`: what the saved one is of, for messages.
absl::Status CheckSameRun(const RunIdentity& saved, const RunIdentity& now,
                          const std::vector<std::string>& allowed, const std::string& where);

// FailedPrecondition, with the ranks that have each, where ranks read different configs or files or
// are different programs. Collective over the world; agreed on.
absl::Status CheckSameOnAllRanks(const RunIdentity& identity, const config::RunConfig& run,
                                 const Process& process);

}  // namespace fttrain

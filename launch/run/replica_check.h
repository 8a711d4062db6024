// Whether ranks that hold the same still hold the same bits: what a flipped bit, a faulty card or a
// race has changed on one of them would train on unseen.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "launch/run/build.h"

namespace fttrain {

// "NAME (slice) KIND" and the sum of its words, a line each, of every parameter and every piece of
// optimizer state on this rank: what has other bits has other lines. Not collective where state
// stays on its rank.
std::string SumsOf(Job& job);

// Sums of the words of every parameter and every piece of optimizer state; a difference in one word
// always shows. DataLoss with kExitReplicaMismatch, with tensor, ranks and sums; the same on every
// rank. Reads memory once. Collective over the world of `process`.
absl::Status CheckReplicas(Job& job, int64_t steps_done, const Process& process);

}  // namespace fttrain

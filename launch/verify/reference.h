// The layout that verification compares with: the smallest that fits in memory.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "launch/plan/layout.h"

namespace fttrain {

struct Reference {
  Layout layout;
  bool keeps_memory = false;  // has the run's memory settings, where the plainest do not fit
};
// "one rank", "tp 1 x pp 2", "one rank with the run's memory settings".
std::string ToString(const Reference& reference);

// "tp=2,pp=1", either left out: 1. InvalidArgument for anything else, or more than `ranks` ranks.
absl::StatusOr<MeshShape> ParseReference(const std::string& text, int ranks);

// Layout{} on tp * pp ranks of the run's kind of device: whatever `run` says besides is not shared,
// so that it is compared with something else. `keeps_memory`: what saves memory is, in one
// microbatch after the other.
Reference ReferenceOf(const Layout& run, int tp, int pp, bool keeps_memory);

// What is there for the reference.
struct Room {
  int64_t free_bytes = 0;
  bool shared = false;         // by all ranks (a host's memory), else each has as much (GPUs)
  bool host_is_apart = false;  // as in BytesOf
  int ranks = 1;               // at most
};

// The first reference, of few ranks first, that fits. `declared`: of Declare(task). `asked`: this
// one, fitting or not. ResourceExhausted with the arithmetic if none fits, InvalidArgument if the
// one asked for cannot compute the task. With the routers' loss, which microbatches are part of, it
// has the run's. Pure.
absl::StatusOr<Reference> ChooseReference(const Task& task, const Layout& run,
                                          const ParameterSet& declared, const Room& room,
                                          std::optional<MeshShape> asked);

}  // namespace fttrain

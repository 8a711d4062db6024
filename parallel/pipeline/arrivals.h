// When a stage may ask for the messages of its neighbours, where a receive occupies the device
// until its message comes.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/pipeline/schedule.h"

namespace fttrain {

// Messages of each flow that the neighbours of a stage have sent.
struct Arrivals {
  size_t forward = 0, backward = 0;
};

// For each microbatch of each step of `stage`, in order: what has arrived when it begins, were
// every chunk of a microbatch to take one tick of a clock that all stages share, and a message no
// time. If each stage asks for no more than that before the microbatch begins, and for no less,
// then what is asked for and what is sent always meet before either end computes again: a stage
// that waits, before it computes, for everything it has issued (sends, too) waits for work of
// earlier ticks alone. Errors: Simulate's.
absl::StatusOr<std::vector<Arrivals>> ArrivalsAt(int stage, const PipelineSchedule& stages);

}  // namespace fttrain

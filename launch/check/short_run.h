// A run made short, with all else as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "configs/load_config.h"
#include "launch/run/train_plan.h"

namespace fttrain {

inline constexpr int64_t kTrialSteps = 3;

// As many steps as a trial takes at least, and in place of epochs, whose number of steps the first
// rows do not tell, those and the warm-up.
config::LoadedConfig WithSteps(config::LoadedConfig loaded);

// Steps of so few microbatches as ask for as much memory (EnoughMicrobatches). In words: "steps of
// 4 of the run's 16 microbatches".
std::string ShortenSteps(TrainPlan& plan);

// What of a plan that fits may surprise: full rows that would not, an adapter of another base, end
// tokens that cannot be learnt. Reads the base's head. Not collective.
absl::StatusOr<std::vector<std::string>> PlanWarnings(const TrainPlan& plan, int ranks);

}  // namespace fttrain

// The run that verification compares with: the smallest layout that fits in memory.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "launch/run/train_plan.h"

namespace fttrain {

struct ReferenceLayout {
  int tp = 1, pp = 1;  // dp 1: tp * pp ranks
  // Keeps the run's keys of memory and optimizer.device, where their defaults do not fit.
  bool keeps_memory_keys = false;
};
// "one rank", "tp 1 x pp 2", "one rank, with the run's memory settings".
std::string ToString(const ReferenceLayout& layout);

// "tp=2,pp=1", either left out: 1. InvalidArgument for anything else, or more than `ranks` ranks.
absl::StatusOr<ReferenceLayout> ParseReference(const std::string& text, int ranks);

// `run` in that layout: ZeRO 0, schedule 1f1b, without sequence parallelism; without recompute and
// offload, the embedding's too, unless it keeps the memory keys; the rows of a step as with `dp`
// data-parallel ranks. Pure.
config::RunConfig ReferenceConfig(config::RunConfig run, int dp, const ReferenceLayout& layout);

// Makes `plan`, of the run, the reference's. InvalidArgument if the model cannot be cut so.
absl::Status ApplyReference(TrainPlan& plan, const ReferenceLayout& layout);

// Bytes a rank of `plan` holds on its device at the most, about: values, gradients, optimizer
// state, what is kept for backward, and a tenth for what is in work. `declared`: of the whole
// model.
int64_t HeldBytes(const TrainPlan& plan, const ParameterSet& declared);

// The first layout of at most `ranks` ranks, of few ranks first, of which a rank fits: `free_bytes`
// are there for all ranks together if `shared` (a host's memory), else for each (GPUs). `asked`:
// this one, fitting or not. Makes `plan` its plan. ResourceExhausted with the arithmetic if none
// fits. Pure but for the plan: equal on ranks that call with equal arguments.
absl::StatusOr<ReferenceLayout> ChooseReference(TrainPlan& plan, const ParameterSet& declared,
                                                int64_t free_bytes, bool shared, int ranks,
                                                std::optional<ReferenceLayout> asked);

}  // namespace fttrain

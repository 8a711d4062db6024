// A model that only evaluates, for commands that do.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launch/command_line.h"
#include "launch/run/network.h"

namespace fttrain {

// The config of --config (or just --model=FOLDER), with --model and --set applied, and the settings
// of the adapter of --adapter. The base is quantised as the config's run does (adapter.method
// qlora), or as the folder is.
struct EvaluationSetup {
  Task task;
  Layout layout;
  std::string scratch_folder = {};  // where the layout has weights on disk
  c10::Device device = c10::Device(c10::kCPU);
};
// All ranks form one tensor-parallel group. Agrees on errors.
absl::StatusOr<EvaluationSetup> PrepareEvaluation(const CommandLine& line, const Process& process);
// For generation: the layout is the config's, where one is given, and without --adapter what its
// run has left answers, its adapter or its model; which of them does is said. Agrees on errors.
absl::StatusOr<EvaluationSetup> PrepareGeneration(const CommandLine& line, const Process& process);

// The network of `setup` with its weights. Agrees on errors. Collective over the world.
absl::StatusOr<std::unique_ptr<Network>> LoadForEvaluation(const EvaluationSetup& setup,
                                                           int64_t max_positions,
                                                           const Process& process);

// With the settings of the adapter in `folder` in place of the config's, and no dropout. Errors as
// ReadAdapterConfig's and CheckAdapter's, of a file.
absl::Status UseAdapter(const std::string& folder, Task& task);

// One document: no targets, and no dropout whose token indices would matter.
ModelBatch EvaluationBatch(const std::vector<int32_t>& input_ids, const EvaluationSetup& setup);

}  // namespace fttrain

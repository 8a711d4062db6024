// From a config to a run, for every command that trains, in two phases: this one reads and checks
// and cannot hang, Build (build.h) is collective.
#pragma once

#include "configs/load_config.h"
#include "launch/command_line.h"
#include "launch/plan/output.h"
#include "launch/run/build.h"
#include "launch/run/taught.h"

namespace fttrain {

struct TrainPlan {
  config::RunConfig run;  // as config.yaml keeps it
  Task task;
  Layout layout;
  Output output;
  JobInputs inputs;
  Taught taught;
  std::vector<int64_t> file_ends;  // examples of inputs.rows of data.train's files up to each
};

// The file of --config, or fttrain.yaml of the current folder, with --set applied and ~ expanded.
absl::StatusOr<config::LoadedConfig> ReadRunConfig(const CommandLine& line);

// Task and layout of a config through all checks that need no weights and no rows.
struct CheckedRun {
  Task task;
  Layout layout;
};
absl::StatusOr<CheckedRun> CheckRun(const config::LoadedConfig& loaded, const ModelSpec& model,
                                    int world_size);

// Refuses whatever can be refused without weights. `run` and `task` have the folder that model.path
// leads to. `most_rows`: of each file the first ones, for a dry run; 0: all. Not collective: agree
// on the status.
absl::StatusOr<TrainPlan> MakeTrainPlan(config::LoadedConfig loaded, const Process& process,
                                        int64_t most_rows = 0);

}  // namespace fttrain

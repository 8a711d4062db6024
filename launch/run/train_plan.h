// From a config to a run that is ready to train, for every command that trains: in two phases as
// network.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "configs/load_config.h"
#include "data/formats/dataset.h"
#include "data/packing/packer.h"
#include "launch/command_line.h"
#include "launch/run/network.h"
#include "launch/run/trainer.h"
#include "model/files/adapter.h"
#include "parallel/optimizer/optimizer.h"

namespace fttrain {

// Everything read and checked before the first collective.
struct TrainPlan {
  config::RunConfig run;
  NetworkPlan network;
  std::vector<Example> examples;
  std::unique_ptr<RowStream> rows;
  int64_t positions = 0;  // of the longest document
  TrainerOptions trainer;
  std::string scratch_folder;  // of nameless files; must exist when the run is built
};

// The file of --config, or fttrain.yaml of the current folder, with --set applied.
absl::StatusOr<config::LoadedConfig> ReadRunConfig(const CommandLine& line);

// Refuses whatever can be refused without weights. `plan` must not move: its rows refer to its
// examples. Not collective: agree on the status.
absl::Status MakeTrainPlan(const config::LoadedConfig& loaded, const Process& process,
                           TrainPlan& plan);

// What of the plan follows from plan.network.mesh and the keys parallel, memory and train of
// plan.run: which layers are where, the largest of what stages send each other, what is kept for
// backward and where, the rows of a step. Part of MakeTrainPlan, for those who change the layout of
// a plan. InvalidArgument if the model cannot be cut so.
absl::Status PlanLayout(TrainPlan& plan);

struct TrainingRun {
  std::unique_ptr<Network> network;
  std::unique_ptr<Optimizer> optimizer;
};

// The run with its weights and fresh optimizer state. Agrees on errors. Collective over the world.
absl::StatusOr<TrainingRun> BuildTrainingRun(const TrainPlan& plan, const Process& process);

// Its trainer; plan and run must outlive it.
Trainer MakeTrainer(const TrainPlan& plan, TrainingRun& run);

// What rank 0 says of the run before its first step.
std::string StartSummary(const TrainPlan& plan, const TrainingRun& run);

}  // namespace fttrain

// From a config to this rank's model on its device, in two phases: the first reads and checks and
// cannot hang, the second is collective. Every command starts here.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "configs/load_config.h"
#include "launch/command_line.h"
#include "model/config/model_config.h"
#include "model/files/adapter.h"
#include "model/network/transformer.h"
#include "parallel/layout/mesh.h"
#include "parallel/pipeline/stage_links.h"
#include "parallel/storage/parameter_store.h"
#include "runtime/process/device.h"
#include "runtime/process/process.h"

namespace fttrain {

// What is known before any collective and before weights are read.
struct NetworkPlan {
  c10::Device device = c10::Device(c10::kCPU);
  bool share_gpu = false;  // several ranks on one GPU: collectives then go over MPI
  MeshShape mesh;
  int64_t boundary_rows = 0;  // of the largest microbatch, where stages hand it on
  ModelSpec model;
  ModelOptions options;
  std::string model_path;
};

// Reads config.json, checks that the layout fits the model, picks the device. `training` refuses
// what can be evaluated only. Not collective: agree on the status.
absl::StatusOr<NetworkPlan> PlanNetwork(const config::LoadedConfig& loaded, bool training,
                                        const Process& process);

// InvalidArgument if documents of `tokens` have positions that the model was not made for. `remedy`
// ends the sentence.
absl::Status CheckPositions(const ModelSpec& model, int64_t tokens, const std::string& what,
                            const std::string& remedy);

struct Network {
  NetworkPlan plan;
  std::unique_ptr<Mesh> mesh;
  std::unique_ptr<StageLinks> links;
  ParameterSet parameters;                // of this rank
  ParameterSet declared;                  // of the whole model, without storage
  std::unique_ptr<ParameterStore> store;  // of `parameters`
  std::unique_ptr<Transformer> transformer;
};

// The network with its storage, zeros. Agrees on errors. Collective over the world.
absl::StatusOr<std::unique_ptr<Network>> BuildNetwork(const NetworkPlan& plan,
                                                      const StorageOptions& storage,
                                                      int64_t max_positions,
                                                      const Process& process);

// One document in evaluation: no targets, and no dropout whose token indices would matter.
ModelBatch EvaluationBatch(const std::vector<int32_t>& input_ids, const NetworkPlan& plan);

// For commands that only evaluate: the config of --config (or just --model=FOLDER), with --model
// and --set applied, and the settings of the adapter of --adapter. The base is quantised as the
// config's run does (adapter.method qlora), or as the folder is. All ranks form one tensor-parallel
// group. Agrees on errors.
struct EvaluationSetup {
  config::RunConfig run;
  NetworkPlan plan;
  std::string adapter_folder;  // empty: the base model
};
absl::StatusOr<EvaluationSetup> PrepareEvaluation(const CommandLine& line, const Process& process);

// The network of `setup` with its weights. Agrees on errors. Collective over the world.
absl::StatusOr<std::unique_ptr<Network>> LoadForEvaluation(const EvaluationSetup& setup,
                                                           int64_t max_positions,
                                                           const Process& process);

}  // namespace fttrain

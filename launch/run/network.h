// A task's model in a layout, on this rank's device: what training and evaluation have in common.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/plan/layout.h"
#include "model/network/transformer.h"
#include "parallel/layout/mesh.h"
#include "parallel/pipeline/stage_links.h"
#include "runtime/comm/backends.h"
#include "runtime/process/board.h"
#include "runtime/process/process.h"

namespace fttrain {

// config.json of `folder`. NotFound, and DataLoss as a file that cannot be used.
absl::StatusOr<ModelSpec> ReadModel(const std::string& folder);

// InvalidArgument if documents of `tokens` have positions that the model was not made for. `remedy`
// ends the sentence.
absl::Status CheckPositions(const ModelSpec& model, int64_t tokens, const std::string& what,
                            const std::string& remedy);
// Of rows that are longer than the model has positions for, what a person should know, for a plan
// that reads none: packed ones of shorter examples are trained. Empty where rows are not.
std::string PositionsNote(const ModelSpec& model, const RowOptions& rows);
// Tokens that a question and its answer have at most: the model's positions, but no more than those
// before its rotary embedding changes (longrope), with which what is kept of their tokens would.
int64_t MostAnswerTokens(const ModelSpec& model);
// CheckPositions of a question and its answer.
absl::Status CheckAnswers(const ModelSpec& model, int64_t tokens, const std::string& what,
                          const std::string& remedy);

struct Network {
  Task task;
  Layout layout;
  c10::Device device = c10::Device(c10::kCPU);
  std::string transport;         // TransportName; empty for one rank
  Activity* activity = nullptr;  // of the process
  std::unique_ptr<Mesh> mesh;
  std::unique_ptr<StageLinks> links;
  ParameterSet declared;                  // of the whole model, without storage
  ParameterSet parameters;                // of this rank
  std::unique_ptr<ParameterStore> store;  // of `parameters`
  std::unique_ptr<Transformer> transformer;
  std::unique_ptr<Board> board;  // of this host's ranks; null: one rank, or no memory to share
};

// Each of the numbers on the rank of the mesh that has most of it. Collective over the mesh.
std::vector<int64_t> LargestOverMesh(const std::vector<int64_t>& values, const Network& network);

// NCCL where each rank has a GPU of its own, else MPI. FailedPrecondition with the exit code
// kExitRanksDisagree where some ranks alone found a GPU. Collective over the world, the same result
// on every rank.
absl::StatusOr<CommBackend> AgreeOnBackend(c10::Device device, const Process& process);

// InvalidArgument where tensor-parallel ranks of a model with experts have different GPUs: each
// chooses a token's experts for itself, by scores whose bits only equal cards promise to be equal.
// `gpus`: each rank's DeviceModel. Pure.
absl::Status CheckSameChoice(const ModelSpec& model, const MeshShape& shape,
                             const std::vector<std::string>& gpus);

// Forwards alone of so many microbatches, on all stages. Layer by layer (kLayerMajor) weights
// arrive once for all of them, as in a step.
PipelineSchedule ForwardSchedule(const Network& network, int microbatches);

// How ranks communicate, in words.
std::string TransportName(CommBackend backend, c10::Device device);

// The network with its storage, zeros. `positions`: of the longest document. A layout of one rank
// may be built by every rank of a larger world, each for itself. Agrees on errors: Unavailable
// where a file cannot be made, FailedPrecondition with the exit code kExitRanksDisagree where ranks
// were led to different models or some alone found a GPU.
// `device`: that of SelectDevice, whatever the layout asks for. `backend` null: NCCL where each
// rank has a GPU of its own, else MPI. Collective over the world.
absl::StatusOr<std::unique_ptr<Network>> BuildNetwork(const Task& task, const Layout& layout,
                                                      const StorageOptions& storage,
                                                      int64_t positions, const Process& process,
                                                      c10::Device device,
                                                      CommBackend backend = nullptr);

}  // namespace fttrain

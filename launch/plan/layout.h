// How a task is divided over ranks, steps and memory. Layout{} is the plainest, one rank with
// everything on its device, and computes what every other does: `fttrain verify` compares with it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "configs/run_config.pb.h"
#include "launch/plan/task.h"
#include "model/blocks/options.h"
#include "model/network/parameters.h"
#include "parallel/layout/mesh.h"
#include "parallel/optimizer/state.h"
#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/stage_links.h"
#include "runtime/process/device.h"

namespace fttrain {

enum class Place { kDevice, kHost };

struct Layout {
  MeshShape mesh = {};
  DeviceKind device = DeviceKind::kAuto;
  int64_t micro_batch_rows = 1;  // of one rank
  bool sequence_parallel = false;
  int zero_stage = 0;
  PipelineKind schedule = PipelineKind::kOneForwardOneBackward;
  // Layers of every run of the model (network/runs.h). Empty: one run a stage, balanced.
  std::vector<int> layers_per_run = {};
  Recompute recompute = Recompute::kNone;
  Place activations = Place::kDevice;  // what layers keep for backward
  Place embedding = Place::kDevice;    // of a frozen table
  FrozenPlace frozen = FrozenPlace::kDevice;
  StatePlace state = StatePlace::kDevice;
  int64_t loss_chunk_rows = 1024;  // rows of logits alive at a time

  // Whether every rank always has its weights on its device, at the same place.
  bool WeightsStay() const { return zero_stage < 3 && frozen == FrozenPlace::kDevice; }
};

// The layout of a config with defaults filled and validated, on `world_size` ranks. InvalidArgument
// if the ranks or the model cannot be cut so.
absl::StatusOr<Layout> LayoutOf(const config::RunConfig& run, const ModelSpec& model,
                                int world_size);

// InvalidArgument, in the words of the config's keys, if the task cannot be computed so.
absl::Status CheckLayout(const Task& task, const Layout& layout);

// The rows of a step, as `layout` takes them.
StepShape StepShapeOf(const Task& task, const Layout& layout);
// Microbatches of a step after which more of them ask for no more memory, but for their token ids:
// the fewest that have as much in flight on every stage, and one behind them (of an interleaved
// pipeline a group of one a stage). All of them where the schedule keeps all.
int64_t EnoughMicrobatches(const Task& task, const Layout& layout);
// The task with steps of so many microbatches.
Task WithMicrobatches(const Task& task, const Layout& layout, int64_t microbatches);
// How many of so many are in flight at most, by stage.
std::vector<int64_t> MostInFlight(const Task& task, const Layout& layout, int64_t microbatches);
ModelOptions ModelOptionsOf(const Task& task, const Layout& layout);
// Messages as long as what a stage hands on of a full microbatch, which tp pads.
StageLinksOptions LinksOptionsOf(const Task& task, const Layout& layout);
// Layers of every run, also where the layout leaves them to balance.
std::vector<int> LayersPerRun(const Task& task, const Layout& layout);
// The parameters of the whole model, without storage, in every layout.
ParameterSet Declare(const Task& task);
// What a rank has of so many bytes of a parameter, or of what belongs to it, before tensor
// parallelism divides it; `sharded` over all replicas, as ZeRO does.
int64_t ShareOf(const Parameter& parameter, int64_t bytes, const Layout& layout, bool sharded);

}  // namespace fttrain

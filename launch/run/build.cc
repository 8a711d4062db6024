#include "launch/run/build.h"

#include <algorithm>

#include "launch/exit_code.h"
#include "launch/run/masters.h"
#include "launch/run/memory_need.h"
#include "launch/run/samples.h"
#include "launch/run/weights.h"
#include "model/linears/adapter.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

StorageOptions StorageOptionsOf(const Task& task, const Layout& layout,
                                const std::string& scratch_folder) {
  StorageOptions options;
  options.zero_stage = layout.zero_stage;
  options.moments = task.moments;
  options.frozen = layout.frozen;
  options.disk_folder = scratch_folder;
  return options;
}

absl::Status LoadFiles(Network& network, const Process& process) {
  const Task& task = network.task;
  const absl::Status base =
      LoadBaseWeights(*network.store, task.model_path, task.model, task.form.nf4);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(FromFile(base)));
  if (!task.form.adapter) return absl::OkStatus();
  if (!task.init_from.empty()) {
    const absl::Status adapter =
        LoadAdapter(*network.store, task.model, task.init_from, *task.form.adapter);
    return process.AgreeOnStatus(FromFile(adapter));
  }
  const auto initialize = [&](const std::vector<Parameter*>& parameters) {
    InitializeAdapters(parameters, task.seed);
    return absl::OkStatus();
  };
  return network.store->Write(initialize, ParameterStore::Values::kTrainable);
}

}  // namespace

int64_t PositionsOf(const Task& task, const JobInputs& inputs) {
  int64_t longest = 0;
  for (const auto& rows : {inputs.rows, inputs.held_out}) {
    if (rows) longest = std::max(longest, rows->summary().longest);
  }
  const int64_t of_rows = std::min(task.rows.sequence_len, longest);
  return inputs.samples ? std::max(of_rows, inputs.samples->positions()) : of_rows;
}

WeightSource WeightsFromFiles() { return LoadFiles; }

absl::StatusOr<std::unique_ptr<Job>> Build(const Task& task, const Layout& layout,
                                           const JobInputs& inputs, const Process& process) {
  auto job = std::make_unique<Job>();
  job->rows = inputs.rows;
  job->held_out = inputs.held_out;
  job->samples = inputs.samples;
  job->timeout_seconds = inputs.timeout_seconds;
  job->left_out = inputs.left_out;
  job->guard = LossGuard(task.guard);
  job->evaluations = Evaluations(task.stopping);
  FT_ASSIGN_OR_RETURN(
      job->network,
      BuildNetwork(task, layout, StorageOptionsOf(task, layout, inputs.scratch_folder),
                   PositionsOf(task, inputs), process, inputs.device, inputs.backend));
  AdamWOptions adamw = task.adamw;
  adamw.state_place = layout.state;
  job->optimizer = std::make_unique<Optimizer>(*job->network->store, adamw);
  FT_RETURN_IF_ERROR(CheckStillFits(inputs.peak_bytes, inputs.device, process));
  FT_RETURN_IF_ERROR(inputs.weights(*job->network, process));
  job->optimizer->MastersFromParameters();
  // Whoever gives other values than the files' gives all there is of them.
  using FromFiles = absl::Status (*)(Network&, const Process&);
  const FromFiles* source = inputs.weights.target<FromFiles>();
  if (source != nullptr && *source == LoadFiles) {
    FT_RETURN_IF_ERROR(process.AgreeOnStatus(LoadMasters(*job->optimizer, task)));
  }
  return job;
}

}  // namespace fttrain

#include "launch/saving/result.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/names.h"
#include "launch/plan/bytes.h"
#include "launch/run/weights.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

// Checkpoints that are in the folder at once: the limit and the one that is being written, or all.
int64_t CheckpointsAtOnce(const TrainPlan& plan) {
  const int64_t every = plan.output.save_steps, keep = plan.output.keep_checkpoints;
  const int64_t all = every > 0 ? CeilDivide(plan.task.steps, every) : 0;
  // The best one, and the one before it until it is there.
  return (plan.output.keeps_best ? 2 : 0) + (keep == 0 ? all : std::min(all, keep + 1));
}

// Those that are there, of the same size.
int64_t CheckpointsThere(const TrainPlan& plan) {
  std::error_code error;
  int64_t count = 0;
  const CheckpointFolder folder(RealFileSystem(), plan.output.folder);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path(), error)) {
    count += StepOf(entry.path().filename().string()) ? 1 : 0;
  }
  return plan.output.resume == "never" ? 0 : count;
}

}  // namespace

std::string ResultFolder(const TrainPlan& plan) {
  return ResultFolder(plan.output.folder, plan.task.form.train_base);
}

absl::Status CheckRoom(const TrainPlan& plan, const OutputFolder& output) {
  int64_t bytes = ResultBytes(plan.task);
  if (plan.output.saves()) {
    const int64_t more = std::max<int64_t>(1, CheckpointsAtOnce(plan) - CheckpointsThere(plan));
    bytes += more * CheckpointBytes(plan.task, Declare(plan.task));
  }
  return output.CheckRoom(bytes);
}

absl::Status WriteResult(const TrainPlan& plan, const Job& job) {
  const Task& task = plan.task;
  const Network& network = *job.network;
  const std::string folder = ResultFolder(plan);
  if (!task.form.adapter) {
    return SaveModel(network.parameters, *network.store, network.declared, task.model_path, folder,
                     task.model, task.form.compute, plan.taught.generation_config);
  }
  return SaveAdapter(network.parameters, *network.store, network.declared, folder,
                     *task.form.adapter, plan.taught.generation_config);
}

}  // namespace fttrain

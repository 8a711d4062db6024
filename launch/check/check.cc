#include "launch/check/check.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launch/check/rows.h"
#include "launch/check/scratch.h"
#include "launch/check/short_run.h"
#include "launch/check/trial.h"
#include "launch/exit_code.h"
#include "launch/plan/bytes.h"
#include "launch/run/memory_need.h"
#include "launch/run/numbers.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/log.h"
#include "runtime/process/stop_signals.h"

namespace fttrain {
namespace {

using Seen = absl::StatusOr<std::string>;  // what a stage tells, on one line

// The stages in their order; each is collective.
class DryRun {
 public:
  DryRun(const config::LoadedConfig& loaded, const CheckOptions& options, const Process& process,
         CheckReport& report)
      : loaded_(loaded), options_(options), process_(process), report_(report) {}

  absl::Status Run() {
    FT_RETURN_IF_ERROR(Stage("data", [this] { return Data(); }));
    FT_RETURN_IF_ERROR(Stage("plan", [this] { return Plan(); }));
    FT_RETURN_IF_ERROR(Stage("output", [this] { return Output(); }));
    Trial trial(*plan_, scratch_->path(), process_, report_);
    FT_RETURN_IF_ERROR(Stage("load", [&] { return trial.Load(); }));
    FT_RETURN_IF_ERROR(Stage("train", [&] { return trial.Train(); }));
    FT_RETURN_IF_ERROR(Stage("resume", [&] { return trial.Resume(); }));
    FT_RETURN_IF_ERROR(Stage("evaluate", [&] { return trial.Evaluate(); }));
    return Stage("export", [&] { return trial.Export(); });
  }

  void CleanUp() {
    if (scratch_ != nullptr) scratch_->Remove();
  }

 private:
  absl::Status Stage(const char* name, const std::function<Seen()>& work) {
    LogInfo(absl::StrCat("check      ", name));
    const auto begin = std::chrono::steady_clock::now();
    const Seen seen = work();
    absl::Status status = process_.AgreeOnStatus(seen.status());
    if (process_.AnyRank(signals_.Look().stop) && status.ok()) {
      status = WithExitCode(absl::CancelledError("stopped when asked; nothing is left behind"),
                            kExitPreempted);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    report_.stages.push_back(
        {name, took.count(), status.ok(), status.ok() ? *seen : std::string(status.message())});
    return status;
  }

  // Rank 0 looks; that others read the same is seen when all plan.
  Seen Data() {
    if (process_.rank() != 0) return std::string();
    FT_ASSIGN_OR_RETURN(RowsSeen rows, LookAtRows(loaded_, process_.world_size(), options_.rows,
                                                  options_.accepted));
    report_.steps = rows.steps;
    report_.run_tokens = rows.tokens;
    report_.warnings = std::move(rows.warnings);
    return std::move(rows.text);
  }

  Seen Plan() {
    absl::StatusOr<TrainPlan> plan = MakeTrainPlan(WithSteps(loaded_), process_, options_.rows);
    FT_RETURN_IF_ERROR(process_.AgreeOnStatus(plan.status()));
    FT_RETURN_IF_ERROR(CheckFits(*plan, process_));
    plan->inputs.held_out = nullptr;  // which it looks at no more: steps alone are measured
    absl::StatusOr<std::vector<std::string>> warnings = std::vector<std::string>();
    if (process_.rank() == 0) warnings = PlanWarnings(*plan, process_.world_size());
    FT_RETURN_IF_ERROR(process_.AgreeOnStatus(warnings.status()));
    report_.warnings.insert(report_.warnings.end(), warnings->begin(), warnings->end());
    const int64_t limit = plan->output.memory_limit_bytes;
    report_.memory_bytes = limit > 0 ? limit : FreeMemoryBytes(plan->inputs.device);
    plan_ = *std::move(plan);
    const MeshShape& mesh = plan_->layout.mesh;
    return absl::StrCat("fits ", InWords(report_.memory_bytes), ": tensor ", mesh.tp, ", pipeline ",
                        mesh.pp, ", replicas ", mesh.dp, "; ", ShortenSteps(*plan_));
  }

  Seen Output() {
    absl::Status probed;
    if (process_.rank() == 0) probed = ProbeOutput(*plan_);
    FT_RETURN_IF_ERROR(process_.AgreeOnStatus(probed));
    const std::string folder = plan_->output.folder;
    const int64_t bytes =
        ResultBytes(plan_->task) + CheckpointBytes(plan_->task, Declare(plan_->task));
    FT_ASSIGN_OR_RETURN(scratch_, Scratch::Make(folder, bytes, process_));
    return absl::StrCat(folder, " can be written; tried in ", scratch_->path());
  }

  const config::LoadedConfig& loaded_;
  const CheckOptions& options_;
  const Process& process_;
  CheckReport& report_;
  StopSignals signals_;  // heard between stages, so that nothing is left
  std::optional<TrainPlan> plan_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace

absl::Status Check(const config::LoadedConfig& loaded, const CheckOptions& options,
                   const Process& process, CheckReport& report) {
  DryRun run(loaded, options, process, report);
  const absl::Status status = run.Run();
  run.CleanUp();
  return status;
}

}  // namespace fttrain

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launch/commands/commands.h"
#include "launch/run/summary.h"
#include "launch/run/train_plan.h"
#include "launch/verify/reference.h"
#include "launch/verify/runs.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct VerifyFlags {
  int64_t steps = 0;
  std::optional<MeshShape> reference;
  std::optional<double> tolerance;
};

absl::StatusOr<VerifyFlags> ReadFlags(const CommandLine& line, int ranks) {
  VerifyFlags flags;
  FT_ASSIGN_OR_RETURN(
      flags.steps, line.Number<int64_t>(
                       "steps", [](int64_t n) { return n >= 1; }, "a number of steps, at least 1"));
  if (line.Has("tolerance")) {
    FT_ASSIGN_OR_RETURN(flags.tolerance, line.Number<double>(
                                             "tolerance", [](double e) { return e > 0 && e < 1; },
                                             "a relative error above 0 and below 1"));
  }
  if (line.Has("reference")) {
    FT_ASSIGN_OR_RETURN(flags.reference, ParseReference(line.Get("reference"), ranks));
  }
  return flags;
}

// The first folder that exists on the way up from output_dir, which verification does not make.
std::string ScratchFolder(const std::string& output_dir) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::absolute(output_dir, error);
  while (!std::filesystem::is_directory(folder, error) && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  return folder.string();
}

struct Verification {
  VerifyFlags flags;
  TrainPlan plan;
};

absl::StatusOr<Verification> PlanVerification(const CommandLine& line,
                                              const config::LoadedConfig& loaded,
                                              const Process& process) {
  Verification made;
  FT_ASSIGN_OR_RETURN(made.flags, ReadFlags(line, process.world_size()));
  FT_ASSIGN_OR_RETURN(made.plan, MakeTrainPlan(loaded, process));
  made.plan.inputs.scratch_folder = ScratchFolder(made.plan.output.folder);
  const int64_t steps = made.plan.task.steps;
  if (!line.Has("steps")) made.flags.steps = std::min(made.flags.steps, steps);
  if (made.flags.steps > steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("--steps=", made.flags.steps, " is more than the run has, ", steps));
  }
  return made;
}

std::string SetupText(const Layout& layout) {
  return absl::StrCat("tp ", layout.mesh.tp, " x pp ", layout.mesh.pp, " x dp ", layout.mesh.dp,
                      ", zero ", layout.zero_stage);
}

// Rank 0's free memory decides for all. Agrees on errors.
absl::StatusOr<Reference> Choose(const Task& task, const Verification& made,
                                 const Process& process) {
  const c10::Device device = made.plan.device;
  ReleaseFreedMemory();
  FreeMemoryBytes(device);  // gives back what this rank keeps of a shared GPU
  process.Barrier();
  Room room;
  const std::string told = process.BroadcastString(absl::StrCat(FreeMemoryBytes(device)));
  FT_CHECK(absl::SimpleAtoi(told, &room.free_bytes), "free memory '", told, "'");
  room.shared = process.AnyRank(device.is_cpu() || SharesGpu(process));
  room.host_is_apart = device.is_cuda();
  room.ranks = process.world_size();
  absl::StatusOr<Reference> reference =
      ChooseReference(task, made.plan.layout, Declare(task), room, made.flags.reference);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(reference.status()));
  return reference;
}

// `run` of the task's job in the reference layout, on a world of its ranks, while the others sleep.
// Agrees on errors.
using RunOfJob = std::function<absl::Status(Job&, const Process&)>;
absl::Status InReference(const Task& task, const Reference& reference, const JobInputs& inputs,
                         const Process& process, const RunOfJob& run) {
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Process> part,
                      process.FirstRanks(reference.layout.mesh.world_size()));
  const auto on_part = [&]() -> absl::Status {
    FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job,
                        Build(task, reference.layout, inputs, *part));
    return run(*job, *part);
  };
  absl::Status status;
  if (part != nullptr) status = on_part();
  process.IdleBarrier();
  return process.AgreeOnStatus(status);
}

// The steps' gradients in float32, in the smallest layout that fits; none where none does.
absl::StatusOr<std::optional<RecordedRun>> FollowInFloat32(const Verification& made,
                                                           const RecordedRun& recorded,
                                                           const Process& process) {
  Task task = made.plan.task;
  task.form.compute = at::kFloat;
  std::optional<RecordedRun> precise;
  const auto reference = Choose(task, made, process);
  absl::Status status = reference.status();
  if (reference.ok()) {
    LogInfo(absl::StrCat("verify     the same steps in float32 on ", ToString(*reference),
                         ", for the size of bfloat16's errors"));
    const JobInputs& inputs = made.plan.inputs;
    status = InReference(task, *reference, inputs, process, [&](Job& job, const Process& part) {
      auto followed = FollowRun(job, recorded, made.flags.steps, inputs.scratch_folder, part);
      if (followed.ok()) precise = *std::move(followed);
      return followed.status();
    });
  }
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    LogInfo("verify     float32 does not fit in memory: a gradient in bfloat16 may be off by 0.3");
    return std::optional<RecordedRun>();
  }
  FT_RETURN_IF_ERROR(status);
  if (!precise) precise.emplace();  // a rank that slept: it is measured all the same
  return precise;
}

}  // namespace

absl::Status VerifyCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  const absl::StatusOr<Verification> made = PlanVerification(line, *loaded, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made.status()));
  const VerifyFlags& flags = made->flags;
  const TrainPlan& plan = made->plan;
  const std::string setup = SetupText(plan.layout);
  RecordedRun recorded;
  {
    FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job,
                        Build(plan.task, plan.layout, plan.inputs, process));
    LogInfo(StartSummary(*job));
    FT_ASSIGN_OR_RETURN(recorded,
                        RecordRun(*job, flags.steps, plan.inputs.scratch_folder, process));
  }
  Tolerances tolerances = RoundingOf(plan.task.form.compute, flags.tolerance);
  std::optional<RecordedRun> precise;
  if (plan.task.form.compute == at::kBFloat16 && !flags.tolerance) {
    FT_ASSIGN_OR_RETURN(precise, FollowInFloat32(*made, recorded, process));
    if (precise) tolerances = MeasuredRounding();
  }
  FT_ASSIGN_OR_RETURN(const Reference reference, Choose(plan.task, *made, process));
  LogInfo(absl::StrCat("verify     the same steps in the reference layout: ", ToString(reference)));
  const auto compare = [&](Job& job, const Process& part) -> absl::Status {
    FT_ASSIGN_OR_RETURN(const Comparison comparison,
                        CompareRun(job, recorded, precise ? precise->record.get() : nullptr,
                                   tolerances, flags.steps, part));
    return part.rank() == 0 ? Verdict(comparison, setup) : absl::OkStatus();
  };
  FT_RETURN_IF_ERROR(InReference(plan.task, reference, plan.inputs, process, compare));
  const std::string own = tolerances.own_errors > 0 ? absl::StrCat(" + ", tolerances.own_errors,
                                                                   " times bfloat16's own error")
                                                    : std::string();
  LogInfo(absl::StrFormat(
      "verify: %s equals %s: gradients within %.2g%s, updates within %.2g, "
      "replicas bit for bit, over %d steps",
      setup, ToString(reference), tolerances.gradient, own, tolerances.update, flags.steps));
  return absl::OkStatus();
}

}  // namespace fttrain

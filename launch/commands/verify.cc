#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "launch/commands/commands.h"
#include "launch/run/output_folder.h"
#include "launch/run/summary.h"
#include "launch/run/train_plan.h"
#include "launch/verify/compare.h"
#include "launch/verify/reference.h"
#include "launch/verify/steps.h"
#include "runtime/files/user_path.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct Verification {
  TrainPlan plan;
  int64_t steps = 0;
  std::optional<MeshShape> reference;
  std::optional<double> tolerance;
};

absl::StatusOr<Verification> PlanVerification(const CommandLine& line,
                                              const config::LoadedConfig& loaded,
                                              const Process& process) {
  Verification made;
  FT_ASSIGN_OR_RETURN(
      made.steps, line.Number<int64_t>(
                      "steps", [](int64_t n) { return n >= 1; }, "a number of steps, at least 1"));
  if (line.Has("tolerance")) {
    FT_ASSIGN_OR_RETURN(made.tolerance, line.Number<double>(
                                            "tolerance", [](double e) { return e > 0 && e < 1; },
                                            "a relative error above 0 and below 1"));
  }
  if (line.Has("reference")) {
    FT_ASSIGN_OR_RETURN(made.reference,
                        ParseReference(line.Get("reference"), process.world_size()));
  }
  FT_ASSIGN_OR_RETURN(made.plan, MakeTrainPlan(loaded, process));
  made.plan.task.guard = {};  // a step that is not finite is an answer
  std::string& scratch = made.plan.inputs.scratch_folder;
  // Which verification does not make.
  if (scratch == made.plan.output.folder) scratch = ExistingFolder(made.plan.output.folder);
  FT_RETURN_IF_ERROR(MakeScratchFolder(scratch));
  const int64_t steps = made.plan.task.steps;
  if (!line.Has("steps")) made.steps = std::min(made.steps, steps);
  if (made.steps > steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("--steps=", made.steps, " is more than the run has, ", steps));
  }
  return made;
}

// The least free memory of any rank decides for all. Agrees on errors.
absl::StatusOr<Reference> ReferenceThatFits(const Task& task, const Verification& made,
                                            const Process& process) {
  const c10::Device device = made.plan.inputs.device;
  ReleaseFreedMemory();
  FreeMemoryBytes(device);  // gives back what this rank keeps of a shared GPU
  process.Barrier();
  Room room;
  room.free_bytes = std::numeric_limits<int64_t>::max();
  for (const std::string& told : process.GatherStrings(absl::StrCat(FreeMemoryBytes(device)))) {
    int64_t bytes = 0;
    FT_CHECK(absl::SimpleAtoi(told, &bytes), "free memory '", told, "'");
    room.free_bytes = std::min(room.free_bytes, bytes);
  }
  room.shared = process.AnyRank(device.is_cpu()) || SomeRanksShareAGpu(device, process);
  room.host_is_apart = device.is_cuda();
  room.ranks = process.world_size();
  absl::StatusOr<Reference> reference =
      ChooseReference(task, made.plan.layout, Declare(task), room, made.reference);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(reference.status()));
  return reference;
}

// Does `work` on the task's job in its reference layout, on a world of its ranks, while the others
// sleep; `announcement` names the layout in place of $0. Agrees on errors: ResourceExhausted where
// no layout fits.
using WorkOnJob = std::function<absl::Status(Job&, const Process&, const Reference&)>;
absl::Status InReference(const Task& task, const Verification& made, const Process& process,
                         const char* announcement, const WorkOnJob& work) {
  FT_ASSIGN_OR_RETURN(const Reference reference, ReferenceThatFits(task, made, process));
  LogInfo(absl::Substitute(announcement, ToString(reference)));
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Process> part,
                      process.FirstRanks(reference.layout.mesh.world_size()));
  const auto on_part = [&]() -> absl::Status {
    FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job,
                        Build(task, reference.layout, made.plan.inputs, *part));
    return work(*job, *part, reference);
  };
  absl::Status status;
  if (part != nullptr) status = on_part();
  process.IdleBarrier();
  return process.AgreeOnStatus(status);
}

// The steps' gradients in float32, in the smallest layout that fits; none where none does.
absl::Status AddFloat32Gradients(const Verification& made, const Process& process,
                                 StepRecord& recorded) {
  Task task = made.plan.task;
  task.form.compute = at::kFloat;
  const absl::Status status = InReference(
      task, made, process,
      "verify     the same steps in float32 on $0, for the size of bfloat16's errors",
      [&](Job& job, const Process& part, const Reference&) -> absl::Status {
        FT_ASSIGN_OR_RETURN(StepRecord precise,
                            RecordSteps(job, made.steps, made.plan.inputs.scratch_folder, part,
                                        /*follow=*/&recorded));
        recorded.float32_gradients = std::move(precise.gradients);
        return absl::OkStatus();
      });
  if (!absl::IsResourceExhausted(status)) return status;
  LogInfo("verify     float32 does not fit in memory: a gradient in bfloat16 may be off by 0.3");
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  const absl::StatusOr<Verification> made = PlanVerification(line, *loaded, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made.status()));
  const TrainPlan& plan = made->plan;
  StepRecord recorded;
  {
    FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job,
                        Build(plan.task, plan.layout, plan.inputs, process));
    LogInfo(StartSummary(*job));
    FT_ASSIGN_OR_RETURN(recorded,
                        RecordSteps(*job, made->steps, plan.inputs.scratch_folder, process));
  }
  if (plan.task.form.compute == at::kBFloat16 && !made->tolerance) {
    FT_RETURN_IF_ERROR(AddFloat32Gradients(*made, process, recorded));
  }
  const auto compare = [&](Job& job, const Process& part,
                           const Reference& reference) -> absl::Status {
    FT_ASSIGN_OR_RETURN(const Comparison comparison,
                        CompareSteps(job, recorded, made->tolerance, part));
    if (part.rank() > 0) return absl::OkStatus();
    const MeshShape& mesh = plan.layout.mesh;
    const std::string setup =
        absl::StrCat("tp ", mesh.tp, " x pp ", mesh.pp, " x dp ", mesh.dp,
                     mesh.ep > 1 ? absl::StrCat(", experts over ", mesh.ep) : "", ", zero ",
                     plan.layout.zero_stage);
    FT_ASSIGN_OR_RETURN(const std::string verdict, Verdict(comparison, setup, ToString(reference)));
    LogInfo(verdict);
    return absl::OkStatus();
  };
  return InReference(plan.task, *made, process,
                     "verify     the same steps in the reference layout: $0", compare);
}

}  // namespace fttrain

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launch/commands/commands.h"
#include "launch/run/train_plan.h"
#include "launch/verify/reference_layout.h"
#include "launch/verify/runs.h"
#include "launch/verify/step_comparer.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct VerifyFlags {
  int64_t steps = 0;
  std::optional<ReferenceLayout> reference;
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

absl::Status Plan(const CommandLine& line, const config::LoadedConfig& loaded,
                  const Process& process, VerifyFlags& flags, TrainPlan& plan) {
  FT_ASSIGN_OR_RETURN(flags, ReadFlags(line, process.world_size()));
  FT_RETURN_IF_ERROR(MakeTrainPlan(loaded, process, plan));
  plan.scratch_folder = ScratchFolder(plan.run.output_dir());
  if (!line.Has("steps")) flags.steps = std::min(flags.steps, plan.trainer.steps);
  if (flags.steps > plan.trainer.steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("--steps=", flags.steps, " is more than the run has, ", plan.trainer.steps));
  }
  return absl::OkStatus();
}

std::string SetupText(const TrainPlan& plan) {
  const MeshShape& mesh = plan.network.mesh;
  return absl::StrCat("tp ", mesh.tp, " x pp ", mesh.pp, " x dp ", mesh.dp, ", zero ",
                      plan.run.parallel().zero_stage());
}

// Rank 0's free memory decides for all. Agrees on errors.
absl::StatusOr<ReferenceLayout> Choose(TrainPlan& plan, const ParameterSet& declared,
                                       const VerifyFlags& flags, const Process& process) {
  ReleaseFreedMemory();
  FreeMemoryBytes(plan.network.device);  // gives back what this rank keeps of a shared GPU
  process.Barrier();
  int64_t free_bytes = 0;
  const std::string told =
      process.BroadcastString(absl::StrCat(FreeMemoryBytes(plan.network.device)));
  FT_CHECK(absl::SimpleAtoi(told, &free_bytes), "free memory '", told, "'");
  const bool shared = process.AnyRank(plan.network.device.is_cpu() || plan.network.share_gpu);
  absl::StatusOr<ReferenceLayout> layout =
      ChooseReference(plan, declared, free_bytes, shared, process.world_size(), flags.reference);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(layout.status()));
  return layout;
}

// `run` on a world of the layout's ranks, while the others sleep. Agrees on errors.
absl::Status OnRanksOf(const ReferenceLayout& layout, const Process& process,
                       const std::function<absl::Status(const Process&)>& run) {
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Process> part,
                      process.FirstRanks(layout.tp * layout.pp));
  absl::Status status;
  if (part != nullptr) status = run(*part);
  process.IdleBarrier();
  return process.AgreeOnStatus(status);
}

// The gradients of the recorded steps in float32, on rank 0 (`precise`), in the smallest layout
// that fits. False where none does, on every rank.
absl::StatusOr<bool> FollowInFloat32(TrainPlan& plan, const RecordedRun& recorded,
                                     const VerifyFlags& flags, const Process& process,
                                     std::unique_ptr<StepRecord>& precise, ParameterSet& declared) {
  const config::RunConfig run = plan.run;
  const NetworkPlan network = plan.network;
  plan.run.mutable_precision()->set_compute(config::COMPUTE_TYPE_FP32);
  plan.network.options.compute = at::kFloat;
  declared = DeclareWholeModel(plan.network.model, plan.network.options);
  const auto layout = Choose(plan, declared, flags, process);
  absl::Status status = layout.status();
  if (layout.ok()) {
    LogInfo(absl::StrCat("verify     the same steps in float32 on ", ToString(*layout),
                         ", for the size of bfloat16's errors"));
    status = OnRanksOf(*layout, process, [&](const Process& part) {
      auto followed = FollowRun(plan, declared, recorded, flags.steps, part);
      if (followed.ok()) precise = *std::move(followed);
      return followed.status();
    });
  }
  plan.run = run;
  plan.network = network;
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    LogInfo("verify     float32 does not fit in memory: a gradient in bfloat16 may be off by 0.3");
    return false;
  }
  FT_RETURN_IF_ERROR(status);
  return true;
}

}  // namespace

absl::Status VerifyCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  VerifyFlags flags;
  TrainPlan plan;
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(Plan(line, *loaded, process, flags, plan)));
  const std::string setup = SetupText(plan);
  const at::ScalarType compute = plan.network.options.compute;
  const ParameterSet declared = DeclareWholeModel(plan.network.model, plan.network.options);
  FT_ASSIGN_OR_RETURN(const RecordedRun recorded, RecordRun(plan, declared, flags.steps, process));

  Tolerances tolerances = RoundingOf(compute, flags.tolerance);
  ParameterSet declared_precise;  // outlives its record
  std::unique_ptr<StepRecord> precise;
  if (compute == at::kBFloat16 && !flags.tolerance) {
    FT_ASSIGN_OR_RETURN(const bool measured,
                        FollowInFloat32(plan, recorded, flags, process, precise, declared_precise));
    if (measured) tolerances = MeasuredRounding();
  }
  FT_ASSIGN_OR_RETURN(const ReferenceLayout layout, Choose(plan, declared, flags, process));
  LogInfo(absl::StrCat("verify     the same steps in the reference layout: ", ToString(layout)));
  FT_RETURN_IF_ERROR(OnRanksOf(layout, process, [&](const Process& part) -> absl::Status {
    FT_ASSIGN_OR_RETURN(
        const Comparison comparison,
        CompareRun(plan, declared, recorded, precise.get(), tolerances, flags.steps, part));
    return part.rank() == 0 ? Verdict(comparison, setup) : absl::OkStatus();
  }));
  const std::string own = tolerances.own_errors > 0 ? absl::StrCat(" + ", tolerances.own_errors,
                                                                   " times bfloat16's own error")
                                                    : std::string();
  LogInfo(absl::StrFormat(
      "verify: %s equals %s: gradients within %.2g%s, updates within %.2g, "
      "replicas bit for bit, over %d steps",
      setup, ToString(layout), tolerances.gradient, own, tolerances.update, flags.steps));
  return absl::OkStatus();
}

}  // namespace fttrain

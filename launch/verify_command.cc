#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launch/commands.h"
#include "launch/holders.h"
#include "launch/reference_layout.h"
#include "launch/settings.h"
#include "launch/step_record.h"
#include "launch/train_plan.h"
#include "launch/verify_report.h"
#include "launch/verify_steps.h"
#include "runtime/check.h"
#include "runtime/device.h"
#include "runtime/log.h"
#include "runtime/memory_ledger.h"

namespace fttrain {
namespace {

constexpr int64_t kDefaultSteps = 3;

struct VerifyFlags {
  std::optional<int64_t> steps;
  std::optional<ReferenceLayout> reference;
  std::optional<double> tolerance;
};

absl::StatusOr<VerifyFlags> ReadFlags(const CommandLine& line, int ranks) {
  VerifyFlags flags;
  if (line.Has("steps")) {
    const std::string text = line.Get("steps");
    if (!absl::SimpleAtoi(text, &flags.steps.emplace()) || *flags.steps < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--steps=", Printable(text), ": must be a number of steps, at least 1"));
    }
  }
  if (line.Has("tolerance")) {
    const std::string text = line.Get("tolerance");
    if (!absl::SimpleAtod(text, &flags.tolerance.emplace()) || !(*flags.tolerance > 0) ||
        !(*flags.tolerance < 1)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--tolerance=", Printable(text), ": must be a relative error above 0 and below 1"));
    }
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
  if (!flags.steps) flags.steps = std::min(kDefaultSteps, plan.trainer.steps);
  if (*flags.steps > plan.trainer.steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("--steps=", *flags.steps, " is more than the run has, ", plan.trainer.steps));
  }
  return absl::OkStatus();
}

// What rank 0 has of the run when its ranks have given it up.
struct Recorded {
  std::unique_ptr<StepRecord> record;
  std::vector<std::vector<HeldSlice>> slices;
  std::vector<ReplicaDeviation> replicas;
};

// Trains in the run's own layout. Agrees on errors. Collective over the world.
absl::StatusOr<Recorded> Record(const TrainPlan& plan, const ParameterSet& declared, int64_t steps,
                                const Process& process) {
  FT_ASSIGN_OR_RETURN(TrainingRun run, BuildTrainingRun(plan, process));
  LogInfo(StartSummary(plan, run));
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Holders> holders,
                      Holders::Create(declared, run.network->parameters, process));
  Recorded recorded;
  absl::Status made;
  if (process.rank() == 0) {
    auto record = StepRecord::Create(declared, steps, plan.scratch_folder);
    made = record.status();
    if (record.ok()) recorded.record = *std::move(record);
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made));
  StepRecorder recorder({declared, *run.network->mesh, *run.optimizer, *holders},
                        recorded.record.get());
  recorder.OnLoaded();
  Trainer trainer = MakeTrainer(plan, run);
  trainer.Observe(recorder);
  for (int64_t step = 0; step < steps; ++step) {
    FT_ASSIGN_OR_RETURN(const StepMetrics metrics, trainer.Step(step));
    LogInfo(absl::StrFormat("verify     step %d of %d of the run: loss %.7g, %.1f s", step + 1,
                            steps, metrics.loss, metrics.seconds));
  }
  recorded.slices = holders->slices();
  recorded.replicas = recorder.replicas();
  return recorded;
}

// Trains in the reference's layout, on the ranks of `process`, and shows its table as it goes. On
// its rank 0, what the steps differ in. Agrees on errors. Collective over its world.
absl::StatusOr<Comparison> Compare(const TrainPlan& plan, const ParameterSet& declared,
                                   const Recorded& recorded, int64_t steps,
                                   const Tolerances& tolerances, const Process& process) {
  FT_ASSIGN_OR_RETURN(TrainingRun run, BuildTrainingRun(plan, process));
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Holders> holders,
                      Holders::Create(declared, run.network->parameters, process));
  StepComparer comparer({declared, *run.network->mesh, *run.optimizer, *holders,
                         OptimizerOptionsOf(plan.run).moments},
                        recorded.record.get(), &recorded.slices, tolerances);
  comparer.OnLoaded();
  Trainer trainer = MakeTrainer(plan, run);
  trainer.Observe(comparer);
  LogInfo(TableHead());
  for (int64_t step = 0; step < steps; ++step) {
    const absl::StatusOr<StepMetrics> metrics = trainer.Step(step);
    FT_RETURN_IF_ERROR(metrics.status());
    if (process.rank() == 0) {
      LogInfo(TableLine(comparer.comparison().steps.back(), recorded.replicas));
    }
  }
  Comparison comparison = comparer.comparison();
  comparison.replicas = recorded.replicas;
  return comparison;
}

std::string SetupText(const TrainPlan& plan) {
  const MeshShape& mesh = plan.network.mesh;
  return absl::StrCat("tp ", mesh.tp, " x pp ", mesh.pp, " x dp ", mesh.dp, ", zero ",
                      plan.run.parallel().zero_stage());
}

// Rank 0's free memory decides for all.
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

}  // namespace

absl::Status VerifyCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  VerifyFlags flags;
  TrainPlan plan;
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(Plan(line, *loaded, process, flags, plan)));
  const std::string setup = SetupText(plan);
  const Tolerances tolerances = RoundingOf(plan.network.options.compute, flags.tolerance);
  const ParameterSet declared = DeclareWholeModel(plan.network.model, plan.network.options);
  FT_ASSIGN_OR_RETURN(const Recorded recorded, Record(plan, declared, *flags.steps, process));
  FT_ASSIGN_OR_RETURN(const ReferenceLayout layout, Choose(plan, declared, flags, process));
  LogInfo(absl::StrCat("verify     the same steps in the reference layout: ", ToString(layout)));

  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Process> part,
                      process.FirstRanks(layout.tp * layout.pp));
  absl::Status verdict;
  if (part != nullptr) {
    const absl::StatusOr<Comparison> comparison =
        Compare(plan, declared, recorded, *flags.steps, tolerances, *part);
    verdict = comparison.status();
    if (comparison.ok() && process.rank() == 0) verdict = Verdict(*comparison, setup);
  }
  process.IdleBarrier();
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(verdict));
  LogInfo(absl::StrFormat(
      "verify: %s equals %s: gradients within %.2g, updates within %.2g, "
      "replicas bit for bit, over %d steps",
      setup, ToString(layout), tolerances.gradient, tolerances.update, *flags.steps));
  return absl::OkStatus();
}

}  // namespace fttrain

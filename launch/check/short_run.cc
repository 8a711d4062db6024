#include "launch/check/short_run.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "launch/plan/paths.h"
#include "launch/run/memory_need.h"
#include "launch/run/numbers.h"
#include "launch/run/rehearsal.h"
#include "model/files/adapter_config.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"

namespace fttrain {
namespace {

// ORG/NAME -> name.
std::string LastName(const std::string& path) {
  std::filesystem::path name(path);
  if (!name.has_filename()) name = name.parent_path();
  return absl::AsciiStrToLower(name.filename().string());
}

// Models of equal shapes have adapters that fit each other and do not belong together.
absl::StatusOr<std::string> OtherBase(const Task& task) {
  if (!task.form.adapter || task.init_from.empty()) return std::string();
  FT_ASSIGN_OR_RETURN(const AdapterForm saved, FromFile(ReadAdapterConfig(task.init_from)));
  const std::string& base = saved.base_model_name_or_path;
  const std::string model = HubNameOf(task.model_path);
  if (base.empty() || LastName(base) == LastName(model)) return std::string();
  return absl::StrCat("adapter.init_from ", task.init_from, " was trained on ", base,
                      ", and this run trains it on ", model, ": its shapes fit, but is it meant?");
}

// Of rows of sequence_len tokens, which the first rows of the files need not have.
std::string FullRowsDoNotFit(const TrainPlan& plan, int ranks) {
  const c10::Device device = plan.inputs.device;
  const int64_t limit = plan.output.memory_limit_bytes;
  const auto memory = RehearseFullRows(plan.task, plan.layout, device, /*rank=*/0);
  if (!memory.ok()) return "";
  const int64_t needed =
      limit > 0 ? memory->device.peak.total : NeedOf(*memory, device, plan.layout.mesh).bytes;
  const int64_t room = limit > 0 ? limit : FreeMemoryBytes(device) / (device.is_cpu() ? ranks : 1);
  if (needed <= room) return "";
  return absl::StrCat("rows of data.sequence_len ", WithCommas(plan.task.rows.sequence_len),
                      " tokens, of which the first rows are not, would need ", InWords(needed),
                      " on rank 0, and ", InWords(room),
                      " are there: `fttrain plan` says what "
                      "helps");
}

}  // namespace

config::LoadedConfig WithSteps(config::LoadedConfig loaded) {
  config::TrainConfig& train = *loaded.config.mutable_train();
  const int64_t written =
      train.has_max_steps() ? train.max_steps() : loaded.config.schedule().warmup_steps() + 1;
  train.clear_num_epochs();
  train.set_max_steps(std::max(kTrialSteps, written));
  return loaded;
}

std::string ShortenSteps(TrainPlan& plan) {
  constexpr int64_t kFewest = 4;
  const int64_t all = StepShapeOf(plan.task, plan.layout).accumulation;
  const int64_t few = std::max(kFewest, EnoughMicrobatches(plan.task, plan.layout));
  if (all <= few) return absl::StrCat("steps of ", Counted(all, "microbatch", "microbatches"));
  plan.task = WithMicrobatches(plan.task, plan.layout, few);
  return absl::StrCat("steps of ", few, " of the run's ", all, " microbatches");
}

absl::StatusOr<std::vector<std::string>> PlanWarnings(const TrainPlan& plan, int ranks) {
  FT_ASSIGN_OR_RETURN(std::vector<std::string> warnings,
                      FromFile(UntrainedRowWarnings(plan.task, plan.taught)));
  FT_ASSIGN_OR_RETURN(const std::string other, OtherBase(plan.task));
  for (const std::string& warning : {other, FullRowsDoNotFit(plan, ranks)}) {
    if (!warning.empty()) warnings.push_back(warning);
  }
  return warnings;
}

}  // namespace fttrain

#include "launch/check/trial.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launch/check/forward.h"
#include "launch/run/memory_need.h"
#include "launch/run/network.h"
#include "launch/run/numbers.h"
#include "launch/run/rank_memory.h"
#include "launch/run/rehearsal.h"
#include "launch/run/replica_check.h"
#include "launch/run/summary.h"
#include "launch/run/weights.h"
#include "launch/saving/result.h"
#include "launch/saving/resume.h"
#include "launch/saving/saver.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kSavedStep = 2;      // after which the checkpoint is made
constexpr size_t kMostLogitRows = 64;  // tokens whose logits are compared

// What the same arithmetic on the same numbers may differ by where sums have no fixed order.
double Rounding(at::ScalarType compute) { return compute == at::kBFloat16 ? 1e-2 : 1e-5; }

double RelativeDifference(double a, double b) {
  if (a == b) return 0;
  return std::abs(a - b) / std::max(std::abs(a), std::abs(b));
}

absl::Status Wrong(const std::string& what) {
  return absl::AbortedError(absl::StrCat(what,
                                         ". That is a fault of fttrain or of this machine: "
                                         "`fttrain verify` may show where"));
}

bool IsEnough(const PlaceMemory& planned, const PlaceMemory& measured) {
  return planned.held == measured.held && measured.peak.total <= planned.peak.total;
}

}  // namespace

bool IsAsPlanned(const RankMemory& planned, const RankMemory& measured, c10::Device device,
                 bool experts) {
  if (device.is_cpu()) {
    return experts
               ? IsEnough(planned.device, measured.device) && IsEnough(planned.host, measured.host)
               : planned == measured;
  }
  const auto a = static_cast<double>(planned.device.peak.total);
  const auto b = static_cast<double>(measured.device.peak.total);
  return (experts && b <= a) || RelativeDifference(a, b) <= 0.01;
}

Trial::Trial(const TrainPlan& plan, const std::string& scratch, const Process& process,
             CheckReport& report)
    : plan_(plan), process_(process), report_(report) {
  std::error_code error;
  plan_.output.folder = scratch;
  plan_.output.resume = "auto";
  // A folder of the user's that is not there is not made.
  std::string& nameless = plan_.inputs.scratch_folder;
  if (!std::filesystem::is_directory(nameless, error) || nameless == plan.output.folder) {
    nameless = scratch;
  }
}

absl::StatusOr<std::string> Trial::Load() {
  const absl::StatusOr<RunIdentity> identity = IdentityOf(plan_);
  FT_RETURN_IF_ERROR(process_.AgreeOnStatus(identity.status()));
  FT_RETURN_IF_ERROR(CheckSameOnAllRanks(*identity, plan_.run, process_));
  identity_ = *identity;
  FT_ASSIGN_OR_RETURN(disk_, FindDisk(plan_.output.folder, process_));
  const auto planned = RehearseRank(plan_.task, plan_.layout, plan_.inputs, process_.rank());
  if (!process_.AnyRank(!planned.ok())) planned_ = *planned;
  FT_RETURN_IF_ERROR(BuildAgain(plan_.task));
  LogInfo(StartSummary(*job_));
  ReleaseFreedMemory();
  return LargestCategories(BeginMemory(process_.rank()).device.held);
}

absl::Status Trial::BuildAgain(const Task& task) {
  trainer_.reset();
  job_.reset();
  ReleaseFreedMemory();
  FT_ASSIGN_OR_RETURN(job_, Build(task, plan_.layout, plan_.inputs, process_));
  plan_.inputs.peak_bytes = 0;  // once judged: a next one finds kernels that this one has loaded
  return absl::OkStatus();
}

absl::StatusOr<StepMetrics> Trial::Step(int64_t step) {
  FT_ASSIGN_OR_RETURN(const StepMetrics metrics, trainer_->Step(step));
  LogInfo(absl::StrFormat("step %d  loss %.4f  grad_norm %.3f  lr %.1e  %.0f tok/s", metrics.step,
                          metrics.loss, metrics.grad_norm, metrics.learning_rate,
                          metrics.TokensPerSecond()));
  if (!metrics.skipped.empty()) {
    return absl::AbortedError(absl::StrCat(
        "step ", metrics.step, ": loss ", metrics.loss, ", gradient norm ", metrics.grad_norm, ": ",
        metrics.skipped, "; look at the rows, or lower optimizer.learning_rate"));
  }
  if (metrics.grad_norm == 0) {
    return absl::AbortedError(
        absl::StrCat("step ", metrics.step,
                     ": the gradient is zero, so nothing is learnt: look at "
                     "adapter.target_modules, and at adapter.init_from for factors that are zero"));
  }
  report_.tokens_per_second =
      metrics.TokensPerSecond();  // the first step is slower than all others
  return metrics;
}

absl::StatusOr<std::string> Trial::Train() {
  const RankMemory held = BeginMemory(process_.rank());
  trainer_ = std::make_unique<Trainer>(*job_);
  FT_ASSIGN_OR_RETURN(const StepMetrics first, Step(0));
  FT_ASSIGN_OR_RETURN(const StepMetrics second, Step(1));
  GatherPeaks(WithPeaks(held));
  trainer_->Rest();
  FT_RETURN_IF_ERROR(CheckReplicas(*job_, kSavedStep, process_));
  return absl::StrFormat("loss %.4f, %.4f; gradient norm %.3g, %.3g", first.loss, second.loss,
                         first.grad_norm, second.grad_norm);
}

void Trial::GatherPeaks(const RankMemory& measured) {
  const int64_t planned = planned_ ? planned_->device.peak.total : -1;
  const bool equal = planned_ && IsAsPlanned(*planned_, measured, plan_.inputs.device,
                                             HasExperts(plan_.task.model));
  const std::string differs = !planned_ || equal
                                  ? ""
                                  : absl::StrCat("memory is not as planned: ", ToString(*planned_),
                                                 " planned; ", ToString(measured), " measured");
  for (const std::string& told : process_.GatherStrings(
           absl::StrJoin({absl::StrCat(planned), absl::StrCat(measured.device.peak.total),
                          std::string(equal ? "1" : "0"), differs},
                         "\t"))) {
    const std::vector<std::string> parts = absl::StrSplit(told, '\t');
    PeakSeen peak;
    peak.rank = static_cast<int>(report_.peaks.size());
    peak.equal = parts[2] == "1";
    FT_CHECK(
        absl::SimpleAtoi(parts[0], &peak.planned) && absl::SimpleAtoi(parts[1], &peak.measured),
        "peaks '", told, "'");
    report_.peaks.push_back(peak);
    if (!parts[3].empty()) report_.warnings.push_back(parts[3]);
  }
}

// Sums of all bits when the checkpoint was made and after the step that followed.
absl::StatusOr<StepMetrics> Trial::SaveAndGoOn(std::string& saved, std::string& after) {
  {
    Saver saver(*job_, plan_, *identity_, RealFileSystem(), disk_, process_);
    FT_RETURN_IF_ERROR(saver.Begin(kSavedStep));
    FT_RETURN_IF_ERROR(saver.Finish());
  }
  saved = SumsOf(*job_);
  FT_ASSIGN_OR_RETURN(const StepMetrics metrics, Step(kSavedStep));
  after = SumsOf(*job_);
  return metrics;
}

absl::Status Trial::GoOnFromCheckpoint(const std::string& saved) {
  FT_ASSIGN_OR_RETURN(const std::optional<Committed> checkpoint,
                      FindCheckpoint(plan_, *identity_, RealFileSystem(), disk_, process_));
  if (!checkpoint || checkpoint->step != kSavedStep) {
    return Wrong("the checkpoint that was just committed is not found");
  }
  FT_RETURN_IF_ERROR(GoOnFrom(*checkpoint, *job_, RealFileSystem(), process_));
  return process_.AgreeOnStatus(SumsOf(*job_) == saved
                                    ? absl::OkStatus()
                                    : Wrong("what was read of the checkpoint is not what was "
                                            "saved: parameters or optimizer state differ"));
}

absl::StatusOr<std::string> Trial::Resume() {
  std::string saved, after;
  FT_ASSIGN_OR_RETURN(const StepMetrics went_on, SaveAndGoOn(saved, after));
  FT_RETURN_IF_ERROR(BuildAgain(plan_.task));
  loss_before_ = LossOfStep(*job_, 0);
  FT_RETURN_IF_ERROR(GoOnFromCheckpoint(saved));
  trainer_ = std::make_unique<Trainer>(*job_);
  FT_ASSIGN_OR_RETURN(const StepMetrics resumed, Step(kSavedStep));
  trainer_->Rest();
  const bool exact = plan_.inputs.device.is_cpu() || plan_.task.deterministic;
  const double allowed = exact ? 0 : Rounding(plan_.task.form.compute);
  const bool same = (!exact || SumsOf(*job_) == after) &&
                    RelativeDifference(went_on.loss, resumed.loss) <= allowed &&
                    RelativeDifference(went_on.grad_norm, resumed.grad_norm) <= 10 * allowed;
  FT_RETURN_IF_ERROR(process_.AgreeOnStatus(
      same ? absl::OkStatus()
           : Wrong(absl::StrFormat("step 3 from the checkpoint is another than without a stop: "
                                   "loss %.9g and %.9g, gradient norm %.9g and %.9g",
                                   resumed.loss, went_on.loss, resumed.grad_norm,
                                   went_on.grad_norm))));
  return absl::StrFormat("step 3 from the checkpoint: loss %.4f, %s", resumed.loss,
                         exact ? "all bits as without a stop" : "as without a stop");
}

absl::StatusOr<std::string> Trial::Evaluate() {
  const double after = LossOfStep(*job_, 0);
  if (!std::isfinite(after) || !std::isfinite(loss_before_)) {
    return absl::AbortedError(absl::StrCat("the loss is not finite: ", loss_before_, " before, ",
                                           after, " after training; look at the model's weights"));
  }
  const double guess = std::log(static_cast<double>(plan_.task.model.vocab_size));
  if (loss_before_ >= 0.9 * guess) {
    report_.warnings.push_back(absl::StrFormat(
        "the loss of these rows before training, %.2f, is that of a model that knows nothing (ln "
        "of %s tokens is %.2f): a tokenizer or a template of another model, or weights that were "
        "never trained",
        loss_before_, WithCommas(plan_.task.model.vocab_size), guess));
  }
  return absl::StrFormat("loss of the first step's rows %.4f before, %.4f after %d steps",
                         loss_before_, after, kSavedStep + 1);
}

absl::StatusOr<std::string> Trial::Export() {
  std::vector<int32_t> ids = job_->rows->examples().front().input_ids;
  ids.resize(std::min(ids.size(), kMostLogitRows));
  const at::Tensor trained = LogitsOf(*job_, ids);
  FT_RETURN_IF_ERROR(process_.AgreeOnStatus(WriteResult(plan_, *job_)));
  Task task = plan_.task;
  (task.form.adapter ? task.init_from : task.model_path) = ResultFolder(plan_);
  FT_RETURN_IF_ERROR(process_.AgreeOnStatus(CheckWeightFiles(task)));
  FT_RETURN_IF_ERROR(BuildAgain(task));
  const at::Tensor read = LogitsOf(*job_, ids);
  const double allowed = plan_.inputs.device.is_cpu() ? 0 : Rounding(task.form.compute);
  double error = 0;
  if (trained.defined()) {
    error = (trained - read).abs().max().item<double>() / trained.abs().max().item<double>();
  }
  const bool same = error <= allowed;  // not where it is no number
  FT_RETURN_IF_ERROR(process_.AgreeOnStatus(
      same ? absl::OkStatus()
           : Wrong(absl::StrFormat("logits of the exported %s, read again, are off by %.3g of the "
                                   "largest (%.3g is allowed)",
                                   task.form.adapter ? "adapter" : "model", error, allowed))));
  return absl::StrFormat(
      "%s read again: logits of %d tokens as the trained job's, %s",
      task.form.adapter ? "adapter" : "model", ids.size(),
      allowed == 0 ? "to the bit" : absl::StrFormat("to %.0e of the largest", allowed));
}

}  // namespace fttrain

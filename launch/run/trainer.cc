#include "launch/run/trainer.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "launch/run/not_finite.h"
#include "runtime/math/philox.h"
#include "runtime/memory/cuda_ledger.h"
#include "runtime/memory/ledger.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/log.h"
#include "runtime/process/process.h"

namespace fttrain {
namespace {

// Sums, in double: exact for token counts. Collective over the data axes.
std::vector<double> SumOverData(std::vector<double> values, const Mesh& mesh, c10::Device device) {
  if (mesh.shape().size(kDataAxes) == 1) return values;
  at::Tensor t = at::tensor(values, at::kDouble).to(device);
  mesh.AllReduce(t, kDataAxes);
  t = t.cpu();
  return {t.data_ptr<double>(), t.data_ptr<double>() + t.numel()};
}

std::string Passed(const StepMetrics& metrics) {
  return absl::StrCat("step ", metrics.step, ": loss ", metrics.loss, ", gradient norm ",
                      metrics.grad_norm, ": ", metrics.skipped, "; nothing was updated");
}

// From the watchdog's thread.
[[noreturn]] void EndJob(const std::string& what, bool stands_still) {
  LogError(absl::StrCat(
      what, stands_still ? ". If this run is only slow, raise parallel.timeout_seconds (0: wait "
                           "for ever)"
                         : ""));
  Process::EndFromAnyThread(stands_still ? kExitHang : kExitPeerLost, what);
}

// Whose rows this rank computes.
int DataRankOf(const Job& job) {
  const Mesh& mesh = *job.network->mesh;
  return static_cast<int>(IndexIn(mesh.shape(), mesh.position(), kDataAxes));
}

int64_t TimeoutOf(const Job& job) {
  const bool alone = job.network->mesh->shape().world_size() == 1;
  return alone ? 0 : job.timeout_seconds;
}

}  // namespace

Trainer::Trainer(Job& job)
    : job_(&job),
      ahead_(job.rows, StepShapeOf(job.task(), job.layout()), DataRankOf(job)),
      watchdog_(*job.network->activity, static_cast<double>(TimeoutOf(job)), kFirstStepSeconds,
                EndJob, job.network->board.get()),
      clock_(job.network->device) {
  const Network& network = *job.network;
  const StepShape shape = StepShapeOf(network.task, network.layout);
  schedule_ =
      MakeAllStages(network.layout.schedule, network.links->num_stages(),
                    network.transformer->num_chunks(), static_cast<int>(shape.accumulation));
}

StepRows ReadStepRows(const Job& job, int64_t step) {
  return ToDevice(
      job, step,
      job.rows->TrainMicrobatches(step, StepShapeOf(job.task(), job.layout()), DataRankOf(job)));
}

StepRows ToDevice(const Job& job, int64_t step, const std::vector<Microbatch>& microbatches) {
  const Network& network = *job.network;
  StepRows rows;
  rows.step = step;
  const auto add = [&](const Microbatch& m) {
    rows.batches.push_back(MakeModelBatch(m.input_ids, m.targets, m.cu_seqlens, m.token_index,
                                          StepKey(network.task.seed, step), network.layout.mesh.tp,
                                          network.device));
  };
  for (const Microbatch& m : microbatches) {
    add(m);
    rows.tokens += static_cast<double>(m.input_ids.size());
    rows.targets += static_cast<double>(m.num_targets);
  }
  for (int64_t i = 0; i < job.left_out; ++i) add(microbatches.front());
  return rows;
}

// What others see may take them hours.
template <typename See>
void Trainer::Observe(int64_t step, const See& see) {
  if (job_->observers.empty()) return;  // the first step keeps its patience
  watchdog_.Rest();
  for (StepObserver* observer : job_->observers) see(*observer);
  watchdog_.BeginStep(step + 1);
}

// Says why nothing is learnt from a step; Aborted where that was so too often.
absl::Status Trainer::PassOver(const StepMetrics& metrics) {
  std::string text = Passed(metrics);
  if (metrics.skipped == LossGuard::kNotFinite) {
    const int64_t step = metrics.step - 1;
    absl::StrAppend(&text, ". It is ",
                    FindNotFinite(*job_, step, ReadStepRows(*job_, step).batches));
  }
  const LossGuard& guard = job_->guard;
  if (guard.Exhausted()) {
    return absl::AbortedError(
        absl::StrCat(text, ". ",
                     guard.in_a_row() == 1
                         ? ""
                         : absl::StrCat("That is so for ", guard.in_a_row(), " steps in a row. "),
                     "Lower optimizer.learning_rate or look at the rows of this step"));
  }
  LogInfo(absl::StrCat("warning    ", text, " (", guard.in_a_row(), " in a row; ",
                       guard.options().max_in_a_row, " may be: train.max_skipped_steps)"));
  return absl::OkStatus();
}

void Trainer::RunStages() {
  Network& network = *job_->network;
  if (IsRehearsal()) {  // whose events keep no time
    RunSchedule(schedule_, *network.transformer, *network.links);
    return;
  }
  clock_.Start(Phase::kWait);
  RunSchedule(schedule_, *Timed(*network.transformer, clock_), *network.links);
  clock_.Stop(Phase::kWait);
}

template <typename Work>
void Trainer::At(Phase phase, const Work& work) {
  if (IsRehearsal()) return work();
  clock_.Start(phase);
  work();
  clock_.Stop(phase);
}

absl::StatusOr<StepMetrics> Trainer::Step(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  const Task& task = job_->task();
  const Mesh& mesh = *job_->network->mesh;
  const c10::Device device = job_->network->device;
  Transformer& model = *job_->network->transformer;
  Optimizer& optimizer = *job_->optimizer;
  watchdog_.BeginStep(step + 1);
  const auto read = [&](int64_t of) {
    At(Phase::kData, [&] { next_ = ToDevice(*job_, of, ahead_.Take(of)); });
  };
  if (!next_ || next_->step != step) read(step);
  StepRows rows = *std::exchange(next_, std::nullopt);
  if (step + 1 < task.steps) ahead_.Prepare(step + 1);
  // Every stage has all tokens of its replica. Here and below, numbers of a rehearsal mean nothing.
  std::vector<double> counts;
  At(Phase::kWait, [&] { counts = SumOverData({rows.tokens, rows.targets}, mesh, device); });
  if (counts[1] == 0 && !IsRehearsal()) {
    return NothingToLearn(step, RowsOfStep(job_->rows->summary(), step, task.rows_per_step));
  }

  // The loss is the sum of token losses over the targets of the whole step: one scale for all
  // microbatches and ranks. So is that of routers, of which a microbatch counts by its tokens.
  const bool balances = task.router_loss > 0;
  model.BeginStep(std::move(rows.batches), std::make_unique<TokenLoss>(1.0 / counts[1]),
                  balances ? task.router_loss / counts[0] : 0);
  optimizer.ZeroGradients();
  RunStages();
  At(Phase::kGradients, [&] { optimizer.SyncGradients(); });
  // All of the step so far is issued and nothing of it is waited for: a device computes meanwhile.
  if (step + 1 < task.steps) read(step + 1);

  StepMetrics metrics;
  metrics.step = step + 1;
  // The last stages have them.
  at::Tensor sums = model.LossSum().view(1);
  if (balances) sums = at::cat({sums, model.RouterLossSum().view(1)});
  At(Phase::kWait, [&] {
    mesh.AllReduce(sums, kDataAxes | AxisSet{Axis::kPp});
    sums = sums.cpu();
    metrics.loss = sums[0].item<double>() / counts[1];
    if (balances) metrics.router_loss = sums[1].item<double>() / counts[0];
  });
  Observe(step, [&](StepObserver& observer) { observer.OnGradients(step, metrics.loss); });
  At(Phase::kWait, [&] { metrics.grad_norm = optimizer.GradientNorm(); });
  metrics.learning_rate = LearningRate(task.learning_rate, step);
  if (!IsRehearsal()) metrics.skipped = job_->guard.Judge(metrics.loss, metrics.grad_norm);
  if (metrics.skipped.empty()) {
    At(Phase::kOptimizer, [&] {
      optimizer.Step(step, metrics.learning_rate,
                     ClipCoefficient(metrics.grad_norm, task.max_grad_norm));
    });
  } else {
    FT_RETURN_IF_ERROR(PassOver(metrics));
  }

  SynchronizeDevice(device);
  metrics.phases = clock_.Read();
  metrics.tokens = std::llround(counts[0]);
  metrics.target_tokens = std::llround(counts[1]);
  const std::vector<int64_t> most = LargestOverMesh(
      {TotalMemory().peak_bytes, ReservedBytes(device).value_or(-1)}, *job_->network);
  metrics.peak_bytes = most[0];
  if (most[1] >= 0) metrics.reserved_bytes = most[1];
  metrics.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Observe(step, [&](StepObserver& observer) { observer.OnUpdated(metrics); });
  return metrics;
}

}  // namespace fttrain

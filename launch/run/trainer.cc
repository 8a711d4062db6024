#include "launch/run/trainer.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/math/philox.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/device.h"

namespace fttrain {
namespace {

// Sums the values over the dp axis, in double: exact for token counts. Every stage has all tokens.
std::vector<double> SumOverDp(std::vector<double> values, const Mesh& mesh, c10::Device device) {
  at::Tensor t = at::tensor(values, at::kDouble).to(device);
  mesh.dp().AllReduce(t);
  t = t.cpu();
  return {t.data_ptr<double>(), t.data_ptr<double>() + t.numel()};
}

// Of what the last stages have.
double SumOfLosses(double loss, const Mesh& mesh, c10::Device device) {
  at::Tensor t = at::full({1}, loss, at::TensorOptions(at::kDouble).device(device));
  mesh.pp().AllReduce(t);
  mesh.dp().AllReduce(t);
  return t.item<double>();
}

int64_t LargestOverMesh(int64_t value, const Mesh& mesh, c10::Device device) {
  at::Tensor t = at::full({1}, value, at::TensorOptions(at::kLong).device(device));
  mesh.tp().AllReduce(t, ReduceOp::kMax);
  mesh.pp().AllReduce(t, ReduceOp::kMax);
  mesh.dp().AllReduce(t, ReduceOp::kMax);
  return t.item<int64_t>();
}

}  // namespace

Trainer::Trainer(const TrainerOptions& options, const Mesh& mesh, StageLinks& links,
                 c10::Device device, RowStream& rows, Transformer& model, Optimizer& optimizer)
    : options_(options),
      mesh_(&mesh),
      links_(&links),
      device_(device),
      rows_(&rows),
      model_(&model),
      optimizer_(&optimizer) {}

absl::StatusOr<StepMetrics> Trainer::Step(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Microbatch> microbatches =
      rows_->TrainMicrobatches(step, options_.shape, mesh_->position().dp);

  std::vector<ModelBatch> batches;
  double tokens = 0, targets = 0;
  for (const Microbatch& m : microbatches) {
    batches.push_back(MakeModelBatch(m.input_ids, m.targets, m.cu_seqlens, m.token_index,
                                     StepKey(options_.seed, step), mesh_->shape().tp, device_));
    tokens += static_cast<double>(m.input_ids.size());
    targets += static_cast<double>(m.num_targets);
  }
  const std::vector<double> counts = SumOverDp({tokens, targets}, *mesh_, device_);
  if (counts[1] == 0) {
    return absl::DataLossError(absl::StrCat(
        "step ", step + 1, ": none of its ", options_.shape.rows_per_step(),
        " rows has a token to learn; remove the rows whose labels are all masked, or set "
        "data.shuffle or data.packing, which drop them"));
  }

  // The loss is the sum of token losses over the targets of the whole step: one scale for all
  // microbatches and ranks.
  model_->BeginStep(std::move(batches), 1.0 / counts[1]);
  optimizer_->ZeroGradients();
  RunSchedule(MakePipelineSchedule(options_.pipeline, links_->stage(), links_->num_stages(),
                                   model_->num_chunks(), static_cast<int>(microbatches.size())),
              *model_, *links_);
  optimizer_->SyncGradients();

  StepMetrics metrics;
  metrics.step = step + 1;
  metrics.loss = SumOfLosses(model_->LossSum(), *mesh_, device_) / counts[1];
  if (observer_ != nullptr) observer_->OnGradients(step, metrics.loss);
  metrics.grad_norm = optimizer_->GradientNorm();
  metrics.learning_rate = LearningRate(options_.schedule, step);
  if (!std::isfinite(metrics.loss) || !std::isfinite(metrics.grad_norm)) {
    return absl::AbortedError(absl::StrCat(
        "step ", step + 1, ": loss ", metrics.loss, ", gradient norm ", metrics.grad_norm,
        " is not finite; nothing was updated. Lower "
        "optimizer.learning_rate or look at the rows of this step"));
  }
  optimizer_->Step(step, metrics.learning_rate,
                   ClipCoefficient(metrics.grad_norm, options_.max_grad_norm));

  SynchronizeDevice(device_);
  metrics.tokens = std::llround(counts[0]);
  metrics.target_tokens = std::llround(counts[1]);
  metrics.peak_bytes = LargestOverMesh(TotalMemory().peak_bytes, *mesh_, device_);
  metrics.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (observer_ != nullptr) observer_->OnUpdated(metrics);
  return metrics;
}

}  // namespace fttrain

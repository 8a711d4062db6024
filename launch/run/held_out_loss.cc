#include "launch/run/held_out_loss.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/pipeline/executor.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

std::vector<ModelBatch> BatchesOf(const std::vector<Microbatch>& microbatches,
                                  const Network& network) {
  std::vector<ModelBatch> batches;
  for (const Microbatch& m : microbatches) {
    batches.push_back(MakeModelBatch(m.input_ids, m.targets, m.cu_seqlens, m.token_index,
                                     /*step_key=*/0, network.layout.mesh.tp, network.device));
  }
  return batches;
}

}  // namespace

double HeldOutLoss::Perplexity() const { return std::exp(loss); }

at::Tensor SumOfLosses(Network& network, std::vector<ModelBatch> batches) {
  Transformer& model = *network.transformer;
  const PipelineSchedule forwards = ForwardSchedule(network, static_cast<int>(batches.size()));
  model.BeginStep(std::move(batches), std::make_unique<TokenLoss>(1.0));
  RunSchedule(forwards, model, *network.links);
  at::Tensor loss = model.LossSum();  // the last stages have it
  network.mesh->AllReduce(loss, kDataAxes | AxisSet{Axis::kPp});
  model.BeginStep({}, nullptr);  // nothing of this stays
  return loss;
}

at::Tensor SumOfStep(Network& network, RowStream& rows, int64_t step) {
  const int replica = IndexIn(network.mesh->shape(), network.mesh->position(), kDataAxes);
  const StepShape shape = StepShapeOf(network.task, network.layout);
  return SumOfLosses(network, BatchesOf(rows.TrainMicrobatches(step, shape, replica), network));
}

HeldOutLoss EvaluateHeldOut(Network& network, RowStream& rows) {
  return *EvaluateHeldOut(network, rows, [] { return true; });
}

std::optional<HeldOutLoss> EvaluateHeldOut(Network& network, RowStream& rows,
                                           const std::function<bool()>& goes_on) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t steps = CeilDivide(rows.summary().stream_rows, network.task.rows_per_step);
  const at::Tensor loss = at::zeros({}, at::TensorOptions(at::kDouble).device(network.device));
  for (int64_t step = 0; step < steps; ++step) {
    if (!goes_on()) return std::nullopt;
    loss.add_(SumOfStep(network, rows, step));
  }
  HeldOutLoss result{.rows = rows.summary().stream_rows,
                     .tokens = rows.summary().tokens,
                     .target_tokens = rows.summary().targets};
  result.loss = loss.item<double>() / static_cast<double>(result.target_tokens);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace fttrain

#include "launch/check/forward.h"

#include <ATen/ATen.h>

#include <memory>
#include <utility>

#include "data/text/example.h"
#include "launch/run/trainer.h"

namespace fttrain {

double LossOfStep(Job& job, int64_t step) {
  Network& network = *job.network;
  Transformer& model = *network.transformer;
  StepRows rows = ReadStepRows(job, step);
  const int stages = network.links->num_stages();
  const auto microbatches = static_cast<int>(rows.batches.size());
  model.BeginStep(std::move(rows.batches), std::make_unique<TokenLoss>(1.0));
  RunSchedule(PipelineSchedule(static_cast<size_t>(stages),
                               ForwardsOnly(stages, model.num_chunks(), microbatches)),
              model, *network.links);
  const at::Tensor loss = model.LossSum();                       // the last stages have it
  const at::Tensor targets = at::full_like(loss, rows.targets);  // every stage has them
  network.mesh->AllReduce(loss, kDataAxes | AxisSet{Axis::kPp});
  network.mesh->AllReduce(targets, kDataAxes);
  model.BeginStep({}, nullptr);  // nothing of this stays
  return loss.item<double>() / targets.item<double>();
}

at::Tensor LogitsOf(Job& job, const std::vector<int32_t>& ids) {
  Network& network = *job.network;
  const auto tokens = static_cast<int32_t>(ids.size());
  const at::Tensor all = at::arange(tokens, at::TensorOptions(at::kLong).device(network.device));
  at::Tensor logits = network.transformer->Logits(
      MakeModelBatch(ids, std::vector<int32_t>(ids.size(), kNoTarget), {0, tokens},
                     std::vector<int64_t>(ids.size()), /*step_key=*/0, network.layout.mesh.tp,
                     network.device),
      all, *network.links);
  if (logits.defined()) logits = logits.to(at::kCPU, at::kFloat).contiguous();
  network.transformer->BeginStep({}, nullptr);
  return logits;
}

}  // namespace fttrain

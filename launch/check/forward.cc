#include "launch/check/forward.h"

#include <ATen/ATen.h>

#include <utility>

#include "data/text/example.h"
#include "launch/run/held_out_loss.h"
#include "launch/run/trainer.h"

namespace fttrain {

double LossOfStep(Job& job, int64_t step) {
  StepRows rows = ReadStepRows(job, step);
  const at::Tensor loss = SumOfLosses(*job.network, std::move(rows.batches));
  const at::Tensor targets = at::full_like(loss, rows.targets);  // every stage has them
  job.network->mesh->AllReduce(targets, kDataAxes);
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

#include "launch/plan/footprint.h"

#include <algorithm>
#include <numeric>

#include "launch/plan/expert_parts.h"
#include "model/blocks/decoder_layer.h"
#include "model/blocks/moe.h"
#include "model/config/alike_linears.h"
#include "parallel/optimizer/int8_moments.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

int64_t ValueBytes(const Parameter& parameter) {
  if (parameter.packed_bytes > 0) return parameter.packed_bytes;
  return parameter.slice.GlobalNumel() * static_cast<int64_t>(c10::elementSize(parameter.dtype));
}

int64_t MostArrivingRows(const Layers& part, int64_t tokens) {
  int64_t most = 0;
  for (const LayerSpec& layer : part) {
    for (const BlockSpec& block : layer) {
      const auto* moe = std::get_if<MoeSpec>(&block.body);
      if (moe != nullptr) most = std::max(most, MostRows(*moe, tokens));
    }
  }
  return most;
}

}  // namespace

Footprint::Footprint(const Task& task)
    : task_(task), layers_(static_cast<size_t>(task.model.num_layers())), experts_(layers_.size()) {
  const ParameterSet declared = Declare(task);
  for (const auto& each : declared.all()) {
    const Parameter& parameter = *each;
    const bool of_expert = parameter.placement.ep == AxisGradient::kOwned;
    std::vector<Group>& layers = of_expert ? experts_ : layers_;
    Group& group = parameter.group >= 0            ? layers[static_cast<size_t>(parameter.group)]
                   : parameter.group == kHeadGroup ? head_
                                                   : embedding_;
    const int64_t numel = parameter.slice.GlobalNumel();
    if (parameter.packed_bytes > 0) largest_packed_ = std::max(largest_packed_, numel);
    if (!parameter.trainable) {
      group.frozen += ValueBytes(parameter);
      continue;
    }
    const int64_t element = parameter.dtype == at::kDouble ? 8 : 4;
    const int64_t master = parameter.dtype == at::kBFloat16 ? 4 * numel : 0;
    const int64_t int8 =
        TakesInt8Moments(parameter) ? 2 * numel + 8 * numel / kInt8Block : 2 * numel * element;
    group.trained += ValueBytes(parameter);
    group.gradients += numel * element;
    group.fp32_state += 2 * numel * element + master;
    group.int8_state += int8 + master;
    group.masters_on_host += 4 * numel - master;
  }
}

const Footprint::LayerWork& Footprint::WorkOf(const Layout& layout) {
  const int tp = layout.mesh.tp;
  const auto [found, is_new] =
      work_.try_emplace({tp, layout.mesh.ep, layout.sequence_parallel, layout.micro_batch_rows});
  LayerWork& work = found->second;
  if (!is_new) return work;
  const LayerSpec& layer = task_.model.layers.front();
  const int64_t tokens = layout.micro_batch_rows * task_.rows.sequence_len;
  const auto element = static_cast<int64_t>(c10::elementSize(task_.form.compute));
  ModelOptions options = ModelOptionsOf(task_, layout);
  const Layers part = FirstPartOfExperts(task_.model.layers, layout.mesh.ep);
  for (const Recompute level : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
    options.recompute = level;
    work.kept[static_cast<size_t>(level)] = MostKeptBytes(part, options, tp, tokens);
  }
  work.copies = FactorCopyBytes(layer, options, tp, c10::Device(c10::kCUDA, 0));
  int64_t widest = 0, attention = 0;
  ForEachAlikeLinear(task_.model, [&](const LinearSpec& linear, int64_t) {
    widest = std::max(widest, linear.out);
  });
  const AttentionShape shape{.tokens = RoundUp(tokens, tp),
                             .documents = layout.micro_batch_rows,
                             .longest = task_.rows.sequence_len};
  attention = AttentionWorkspace(layer, task_.form.compute, tp, shape, task_.deterministic);
  // A backward of the feed-forward block, or of an expert with all tokens of those who divide them,
  // has five of its width and four of the model's; of NF4 matrices one is in work and the next
  // being made ready.
  const int64_t wide = tokens * layout.mesh.ep * widest / tp * element,
                narrow = tokens * task_.model.hidden_size;
  work.working = std::max(5 * wide, attention + 2 * wide) + 4 * narrow * element +
                 2 * largest_packed_ / tp * element;
  if (layout.mesh.ep > 1) {  // what comes, what goes back, and gradients or inputs of it
    work.working += 3 * MostArrivingRows(part, tokens) * task_.model.hidden_size * element;
  }
  // Logits in the type of products and, of their gradient, once more; the rows that are learnt.
  work.head = layout.loss_chunk_rows * task_.model.vocab_size / tp * (2 * element + 4) +
              4 * narrow * element;
  return work;
}

const std::vector<int64_t>& Footprint::InFlight(const Layout& layout) {
  const int pp = layout.mesh.pp, chunks = static_cast<int>(layout.layers_per_run.size()) / pp;
  const int64_t all = StepShapeOf(task_, layout).accumulation;
  const auto [found, is_new] =
      in_flight_.try_emplace({static_cast<int>(layout.schedule), pp, chunks, all});
  if (!is_new) return found->second;
  found->second = MostInFlight(task_, layout, all);
  return found->second;
}

struct Footprint::Stage {
  int64_t values = 0, window = 0, training = 0, on_host = 0, layers = 0;
};

std::vector<Footprint::Stage> Footprint::Held(const Layout& layout, MomentStorage moments) const {
  const int pp = layout.mesh.pp, dp = layout.mesh.size(kDataAxes);
  const int zero = dp > 1 ? layout.zero_stage : 0;
  const bool state_on_host = layout.state == StatePlace::kHost;
  std::vector<Stage> stages(static_cast<size_t>(pp));
  // `divided`: over the ranks along ep, unless ZeRO divides it over all replicas.
  const auto add = [&](const Group& group, size_t at, bool is_layer, const Group& divided = {}) {
    Stage& stage = stages[at];
    const auto share = [&](bool sharded, const auto& bytes) {
      return sharded ? (bytes(group) + bytes(divided)) / dp
                     : bytes(group) + bytes(divided) / layout.mesh.ep;
    };
    const bool streams = is_layer && layout.frozen != FrozenPlace::kDevice;
    const auto frozen = [](const Group& of) { return of.frozen; };
    const auto all = [](const Group& of) { return of.frozen + of.trained; };
    const auto there = [&](const Group& of) { return of.trained + (streams ? 0 : of.frozen); };
    const auto state = [&](const Group& of) {
      return (moments == MomentStorage::kInt8 ? of.int8_state : of.fp32_state) +
             (state_on_host ? of.masters_on_host : 0);
    };
    stage.values += share(zero >= 3, there);
    if (layout.frozen == FrozenPlace::kHost && is_layer) stage.on_host += share(zero >= 3, frozen);
    const int64_t shown = zero >= 3 ? share(false, all) : streams ? share(false, frozen) : 0;
    stage.window = std::max(stage.window, shown);
    stage.training += share(zero >= 2, [](const Group& of) { return of.gradients; });
    (state_on_host ? stage.on_host : stage.training) += share(zero >= 1, state);
  };
  size_t layer = 0;
  for (size_t run = 0; run < layout.layers_per_run.size(); ++run) {
    const size_t at = run % static_cast<size_t>(pp);
    stages[at].layers += layout.layers_per_run[run];
    for (int i = 0; i < layout.layers_per_run[run]; ++i, ++layer) {
      add(layers_[layer], at, true, experts_[layer]);
    }
  }
  if (layout.embedding == Place::kHost) {
    stages.front().on_host += embedding_.frozen;
  } else {
    add(embedding_, 0, false);
    if (task_.model.head.tied && pp > 1) add(embedding_, static_cast<size_t>(pp - 1), false);
  }
  add(head_, static_cast<size_t>(pp - 1), false);
  return stages;
}

std::vector<RankBytes> Footprint::ByStage(const Layout& layout, MomentStorage moments) {
  const int pp = layout.mesh.pp, tp = layout.mesh.tp;
  const std::vector<Stage> stages = Held(layout, moments);
  const LayerWork& work = WorkOf(layout);
  const std::vector<int64_t>& in_flight = InFlight(layout);
  const int64_t chunks = static_cast<int64_t>(layout.layers_per_run.size()) / pp;
  std::vector<RankBytes> bytes;
  for (size_t i = 0; i < stages.size(); ++i) {
    const Stage& stage = stages[i];
    const int64_t of_layer = work.kept[static_cast<size_t>(layout.recompute)];
    const int64_t kept = in_flight[i] * stage.layers * of_layer / chunks;
    const bool kept_on_host = layout.activations == Place::kHost;
    // What is made again of a layer is there while its backward runs.
    const int64_t again =
        layout.recompute == Recompute::kNone ? 0 : work.kept[0] / (tp > 1 ? 1 : 2);
    int64_t working = work.working + again;
    if (i + 1 == stages.size()) working = std::max(working, work.head);
    const int64_t copies = layout.WeightsStay() ? work.copies * stage.layers : 2 * work.copies;
    RankBytes rank;
    rank.device = (stage.values + stage.training + 2 * stage.window) / tp + copies + working +
                  (kept_on_host ? std::min(kept, 3 * of_layer) : kept);
    rank.host = stage.on_host / tp + (kept_on_host ? kept : 0);
    bytes.push_back(rank);
  }
  return bytes;
}

}  // namespace fttrain

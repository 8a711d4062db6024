#include "launch/plan/stage_time.h"

#include <algorithm>

#include "launch/plan/expert_parts.h"
#include "model/network/runs.h"

namespace fttrain {
namespace {

constexpr double kGradientBytes = 4;
// Of a host's memory, in the updates of all its ranks together, of state that is there.
constexpr double kHostUpdateBytesPerSecond = 20e9;

// Bytes of an element that an AdamW step reads and writes beside its gradient.
double StateTraffic(const Task& task) {
  const double moments = task.moments == MomentStorage::kInt8 ? 4 : 16;
  const bool masters = task.form.train_base && task.form.compute == at::kBFloat16;
  return moments + (masters ? 10 : 8);
}

class Stage {
 public:
  Stage(const Task& task, const Layout& layout, const StepCounts& counts, const Card& card,
        const Links& links, const Efficiencies& efficiencies)
      : task_(task),
        layout_(layout),
        counts_(counts),
        card_(card),
        links_(links),
        efficiencies_(efficiencies),
        replicas_(layout.mesh.size(kDataAxes)),
        // One replica has nothing to shard.
        zero_(replicas_ == 1 ? std::min(layout.zero_stage, 1) : layout.zero_stage),
        together_(counts.together) {}

  Parts Forward(const LayerRun& run) const {
    Parts parts;
    if (run.first) {
      parts = parts + Seconds(counts_.embedding.forward, 1) + EmbeddingArrives() +
              EndArrives(counts_.embedding_bytes, layout_.embedding == Place::kDevice);
    }
    for (int layer = run.begin; layer < run.end; ++layer) {
      const auto i = static_cast<size_t>(layer);
      Parts own = Seconds(counts_.layers[i].forward, Expanded());
      own.work += efficiencies_.launch_seconds;
      const Traffic traffic = {Streamed(counts_.bytes[i]), KeptSeconds(counts_.bytes[i]),
                               Gathered(counts_.bytes[i].values())};
      parts = parts + Beside(own, traffic);
    }
    if (!run.last) return parts;
    GroupBytes head = counts_.head_bytes;
    if (task_.model.head.tied && !run.first) {
      head.frozen += counts_.embedding_bytes.frozen;
      head.trained += counts_.embedding_bytes.trained;
    }
    return parts + Seconds(counts_.head, 1.0 / together_) + EndArrives(head, true) +
           EndGradients(counts_.head_bytes);
  }

  Parts Backward(const LayerRun& run) const {
    Parts parts;
    for (int layer = run.begin; layer < run.end; ++layer) {
      const auto i = static_cast<size_t>(layer);
      const LayerCounts& layer_counts = counts_.layers[i];
      Parts own = Seconds(layer_counts.backward, Expanded());
      own.work += efficiencies_.launch_seconds;
      if (layout_.recompute != Recompute::kNone) {
        // What is held dequantised for several microbatches is there.
        own.recompute = Seconds(layer_counts.again, together_ > 1 ? 0 : Expanded()).Total() +
                        efficiencies_.launch_seconds;
      }
      own.streaming += ReleaseSeconds(counts_.bytes[i].gradients);
      const Traffic traffic = {
          Streamed(counts_.bytes[i]) + KeptSeconds(counts_.bytes[i]), 0,
          Gathered(counts_.bytes[i].values()) + Reduced(counts_.bytes[i].gradients)};
      parts = parts + Beside(own, traffic);
    }
    if (!run.first) return parts;
    return parts + Seconds(counts_.embedding.backward, 1) + EndGradients(counts_.embedding_bytes);
  }

  // Of the stage's groups together; `first`: of the last one whose gradients are complete.
  // `backward`: seconds of a microbatch's, beside which the sums over replicas run.
  Parts End(const GroupBytes& all, double first, bool sends_tied, double backward) const {
    Parts parts = Updated(all);
    const double tp = layout_.mesh.tp;
    if (all.partial > 0) {
      parts.communication += 2 * (tp - 1) / tp * all.partial / links_.tp + Latency();
    }
    if (replicas_ > 1 && zero_ < 2) {
      const double passes = zero_ == 0 ? 2 : 1;
      const double sums = passes * OverReplicas(all.gradients);
      const double last = passes * OverReplicas(first);
      parts.communication += efficiencies_.beside ? std::max(last, sums - backward) : sums;
    }
    if (zero_ == 1 || zero_ == 2) parts.communication += OverReplicas(all.trained);
    if (sends_tied) {
      parts.communication +=
          2 * counts_.embedding_bytes.gradients / (zero_ >= 1 ? replicas_ : 1) / links_.pp;
    }
    return parts;
  }

 private:
  // Seconds of what moves while a layer computes: to the card, from it, between replicas.
  struct Traffic {
    double in = 0, out = 0, replicas = 0;
  };

  double Latency() const { return efficiencies_.collective_seconds; }

  Parts Seconds(const Counts& counts, double dequantized) const {
    const double bandwidth = card_.memory_bytes_per_second;
    Parts parts;
    parts.work = counts.products / card_.gemm_flops + counts.attention / card_.attention_flops;
    parts.streaming = counts.streamed / (bandwidth * efficiencies_.streaming);
    parts.dequantize = counts.dequantized * dequantized / (bandwidth * efficiencies_.dequantize);
    if (counts.sent > 0) {
      parts.communication = counts.sent / links_.tp + counts.collectives * Latency();
    }
    if (counts.exchanged > 0) {
      parts.communication += counts.exchanged / links_.ep + counts.exchanges * Latency();
    }
    // The card waits for the host where its kernels are shorter than launching them takes.
    parts.work += std::max(0.0, counts.launches * efficiencies_.issue_seconds - parts.Total());
    return parts;
  }

  // Of dequantising a layer for a microbatch, what nothing hides: matrices that come and go are not
  // read ahead.
  double Expanded() const {
    if (together_ > 1) return 1.0 / together_;
    return efficiencies_.beside && layout_.WeightsStay() ? 1 - efficiencies_.dequantize_hidden : 1;
  }

  Parts Beside(Parts own, const Traffic& traffic) const {
    if (!efficiencies_.beside) {
      own.host_copies += traffic.in + traffic.out;
      own.communication += traffic.replicas;
      return own;
    }
    const double copies = std::max(traffic.in, traffic.out);
    const double longer = std::max(copies, traffic.replicas) - own.Total();
    if (longer <= 0) return own;
    (copies >= traffic.replicas ? own.host_copies : own.communication) += longer;
    return own;
  }

  double Streamed(const GroupBytes& bytes) const {
    if (layout_.frozen == FrozenPlace::kDevice) return 0;
    const double rate =
        layout_.frozen == FrozenPlace::kDisk ? std::min(links_.disk, links_.host) : links_.host;
    return bytes.frozen / (zero_ >= 3 ? replicas_ : 1) / rate / together_;
  }
  double KeptSeconds(const GroupBytes& bytes) const {
    return layout_.activations == Place::kHost ? bytes.kept / links_.host : 0;
  }
  // One collective in which each replica sends all but its own part.
  double OverReplicas(double bytes) const {
    if (replicas_ == 1 || bytes == 0) return 0;
    return bytes * (replicas_ - 1) / replicas_ / links_.dp + Latency();
  }
  double Gathered(double bytes) const { return zero_ >= 3 ? OverReplicas(bytes) / together_ : 0; }
  double Reduced(double bytes) const { return zero_ >= 2 ? OverReplicas(bytes) / together_ : 0; }
  // Whole gradients are zeroed, and what comes of them is added to the shard.
  double ReleaseSeconds(double bytes) const {
    if (zero_ < 2) return 0;
    return bytes * (1 + 3.0 / replicas_) /
           (card_.memory_bytes_per_second * efficiencies_.streaming) / together_;
  }

  Parts EmbeddingArrives() const {
    Parts parts;
    // Rows are gathered on the host, then copied.
    if (layout_.embedding == Place::kHost) {
      parts.host_copies = counts_.embedding.forward.streamed / 2 / links_.host;
    }
    return parts;
  }
  Parts EndArrives(const GroupBytes& bytes, bool on_device) const {
    Parts parts;
    if (on_device) parts.communication = Gathered(bytes.values());
    return parts;
  }
  Parts EndGradients(const GroupBytes& bytes) const {
    Parts parts;
    parts.streaming = ReleaseSeconds(bytes.gradients);
    parts.communication = Reduced(bytes.gradients);
    return parts;
  }

  Parts Updated(const GroupBytes& all) const {
    const double elements = all.gradients / kGradientBytes / (zero_ >= 1 ? replicas_ : 1);
    const double rate = card_.memory_bytes_per_second * efficiencies_.streaming;
    Parts parts;
    // Gradients are zeroed, and read for their norm.
    parts.optimizer = 2 * kGradientBytes * elements / rate;
    const double traffic = elements * (StateTraffic(task_) + kGradientBytes);
    if (layout_.state == StatePlace::kDevice || !efficiencies_.beside) {
      parts.optimizer += traffic / rate;
      return parts;
    }
    const double copied = elements * kGradientBytes / links_.host;
    parts.host_copies =
        std::max(copied, traffic * links_.ranks_per_host / kHostUpdateBytesPerSecond);
    return parts;
  }

  const Task& task_;
  const Layout& layout_;
  const StepCounts& counts_;
  const Card& card_;
  const Links& links_;
  const Efficiencies& efficiencies_;
  int replicas_, zero_, together_;
};

GroupBytes Sum(const GroupBytes& a, const GroupBytes& b) {
  return {a.frozen + b.frozen, a.trained + b.trained, a.gradients + b.gradients,
          a.partial + b.partial, a.kept + b.kept};
}

// Of all groups of a stage; a tied table's state is on both ends.
GroupBytes BytesOfStage(const std::vector<LayerRun>& runs, const Task& task,
                        const StepCounts& counts) {
  GroupBytes all;
  for (const LayerRun& run : runs) {
    for (int layer = run.begin; layer < run.end; ++layer) {
      all = Sum(all, counts.bytes[static_cast<size_t>(layer)]);
    }
    if (run.first || (run.last && task.model.head.tied)) all = Sum(all, counts.embedding_bytes);
    if (run.last) all = Sum(all, counts.head_bytes);
  }
  return all;
}

}  // namespace

Parts operator+(const Parts& a, const Parts& b) {
  return {
      a.work + b.work,           a.streaming + b.streaming,         a.dequantize + b.dequantize,
      a.recompute + b.recompute, a.communication + b.communication, a.host_copies + b.host_copies,
      a.optimizer + b.optimizer};
}

Parts operator*(double times, const Parts& parts) {
  return {times * parts.work,      times * parts.streaming,     times * parts.dequantize,
          times * parts.recompute, times * parts.communication, times * parts.host_copies,
          times * parts.optimizer};
}

StepCounts CountStep(const Task& task, const Layout& layout, const Efficiencies& efficiencies) {
  StepCounts counts;
  for (const LayerSpec& layer : task.model.layers) {
    counts.layers.push_back(CountLayer(layer, task, layout, efficiencies));
  }
  for (const LayerSpec& part : FirstPartOfExperts(task.model.layers, layout.mesh.ep)) {
    counts.bytes.push_back(BytesOfLayer(part, task, layout));
  }
  counts.head = CountHead(task, layout, efficiencies);
  counts.embedding = CountEmbedding(task, layout);
  counts.head_bytes = BytesOfHead(task, layout);
  counts.embedding_bytes = BytesOfEmbedding(task, layout);
  counts.microbatches = static_cast<int>(StepShapeOf(task, layout).accumulation);
  const bool layers_alone =
      layout.layers_per_run.size() == static_cast<size_t>(task.model.num_layers());
  if (layout.schedule == PipelineKind::kLayerMajor && layers_alone) {
    counts.together = counts.microbatches;
  }
  return counts;
}

StageTime TimeOfStage(int stage, const Task& task, const Layout& layout, const StepCounts& counts,
                      const Card& card, const Links& links, const Efficiencies& efficiencies) {
  const int stages = layout.mesh.pp;
  const std::vector<LayerRun> runs = RunsOfStage(LayersPerRun(task, layout), stages, stage);
  const Stage at(task, layout, counts, card, links, efficiencies);
  StageTime time;
  double backward = 0;
  for (const LayerRun& run : runs) {
    time.forward.push_back(at.Forward(run));
    time.backward.push_back(at.Backward(run));
    backward += time.backward.back().Total();
  }
  const double first = counts.bytes[static_cast<size_t>(runs.front().begin)].gradients;
  const bool tied = task.model.head.tied && task.form.train_base && stages > 1;
  const bool end = stage == 0 || stage + 1 == stages;
  time.end = at.End(BytesOfStage(runs, task, counts), first, tied && end, backward);
  return time;
}

}  // namespace fttrain

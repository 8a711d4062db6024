#include "launch/plan/bytes.h"

#include <algorithm>
#include <map>
#include <vector>

#include "launch/plan/expert_parts.h"
#include "model/blocks/decoder_layer.h"
#include "model/files/folder_writer.h"
#include "model/linears/adapter.h"
#include "parallel/optimizer/int8_moments.h"
#include "parallel/storage/disk_source.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

int64_t ValueBytes(const Parameter& parameter) {
  if (parameter.packed_bytes > 0) return parameter.packed_bytes;
  return parameter.slice.GlobalNumel() * static_cast<int64_t>(c10::elementSize(parameter.dtype));
}

// One replica's bytes of each.
struct TrainingBytes {
  int64_t gradient = 0, state = 0;
};

TrainingBytes TrainingBytesOf(const Parameter& parameter, const Task& task, const Layout& layout,
                              bool host_is_apart) {
  if (!parameter.trainable) return {};
  const int64_t numel = parameter.slice.GlobalNumel();
  const int64_t element = parameter.dtype == at::kDouble ? 8 : 4;  // of gradients and moments
  TrainingBytes bytes{numel * element, 2 * numel * element};
  if (task.moments == MomentStorage::kInt8 && TakesInt8Moments(parameter)) {
    bytes.state = 2 * numel + 8 * numel / kInt8Block;
  }
  if (parameter.dtype == at::kBFloat16 || layout.state == StatePlace::kHost) {
    bytes.state += 4 * numel;  // the master
  }
  if (layout.state == StatePlace::kHost && host_is_apart) bytes.state = 0;
  return bytes;
}

std::vector<size_t> StagesOfLayers(const std::vector<int>& layers_per_run, int stages) {
  std::vector<size_t> stage_of_layer;
  for (size_t run = 0; run < layers_per_run.size(); ++run) {
    stage_of_layer.insert(stage_of_layer.end(), static_cast<size_t>(layers_per_run[run]),
                          run % static_cast<size_t>(stages));
  }
  return stage_of_layer;
}

// The stages that hold the parameter; both ends hold a tied embedding.
std::vector<size_t> StagesOf(const Parameter& parameter, const std::vector<size_t>& stage_of_layer,
                             int stages, bool tied) {
  const auto last = static_cast<size_t>(stages - 1);
  if (parameter.group >= 0) return {stage_of_layer[static_cast<size_t>(parameter.group)]};
  if (parameter.group == kHeadGroup) return {last};
  if (!tied || last == 0) return {0};
  return {0, last};
}

// The most bytes of windows that a stage has at once, of the groups' in `windows`: its largest
// layer and the next, or an end beside a layer; layer-major an end beside both. A tied head reads
// the embedding's too.
int64_t WindowBytes(std::map<int, int64_t> windows, const std::vector<size_t>& stage_of_layer,
                    size_t stage, const Task& task, const Layout& layout) {
  int64_t layer = 0, end = 0;
  for (size_t i = 0; i < stage_of_layer.size(); ++i) {
    if (stage_of_layer[i] == stage) layer = std::max(layer, windows[static_cast<int>(i)]);
  }
  const int64_t embedding = windows[kEmbeddingGroup];
  if (stage == 0) end = embedding;
  if (stage == static_cast<size_t>(layout.mesh.pp - 1)) {
    end = std::max(end, windows[kHeadGroup] + (task.model.head.tied ? embedding : 0));
  }
  return layer +
         (layout.schedule == PipelineKind::kLayerMajor ? layer + end : std::max(layer, end));
}

// Copies of a stage's adapters: of all its layers, or with values of one at a time.
int64_t CopyBytes(const Task& task, const Layout& layout, const std::vector<size_t>& stage_of_layer,
                  size_t stage, bool one_layer, c10::Device device) {
  const ModelOptions options = ModelOptionsOf(task, layout);
  const Layers part = FirstPartOfExperts(task.model.layers, layout.mesh.ep);
  int64_t sum = 0, most = 0;
  for (size_t i = 0; i < stage_of_layer.size(); ++i) {
    if (stage_of_layer[i] != stage) continue;
    const int64_t bytes = FactorCopyBytes(part[i], options, layout.mesh.tp, device);
    sum += bytes;
    most = std::max(most, bytes);
  }
  return one_layer ? most : sum;
}

// Of the reader of frozen weights on disk, on each rank: the most of any stage's, about.
int64_t ReaderBytes(const ParameterSet& declared, const Layout& layout, bool sharded) {
  if (layout.frozen != FrozenPlace::kDisk) return 0;
  std::map<int, int64_t> layers;
  for (const auto& parameter : declared.all()) {
    if (parameter->group < 0 || parameter->trainable) continue;
    layers[parameter->group] +=
        ShareOf(*parameter, RoundUp(ValueBytes(*parameter), kAlignmentBytes), layout, sharded);
  }
  int64_t largest = 0;
  for (const auto& [layer, bytes] : layers) largest = std::max(largest, bytes);
  return DiskReaderBytes(largest / layout.mesh.tp);
}

// What a stage's layers keep of what its schedule has in flight at once; the most of any stage.
int64_t KeptBytesOf(const Task& task, const Layout& layout, const std::vector<size_t>& stages) {
  const int microbatches = static_cast<int>(StepShapeOf(task, layout).accumulation);
  const int pp = layout.mesh.pp, chunks = static_cast<int>(LayersPerRun(task, layout).size()) / pp;
  int64_t most = 0;
  for (int stage = 0; stage < pp; ++stage) {
    const int64_t in_flight =
        MostInFlight(MakePipelineSchedule(layout.schedule, stage, pp, chunks, microbatches));
    const auto layers = std::count(stages.begin(), stages.end(), static_cast<size_t>(stage));
    most = std::max(most, in_flight * layers / chunks);
  }
  const Layers part = FirstPartOfExperts(task.model.layers, layout.mesh.ep);
  return most * MostKeptBytes(part, ModelOptionsOf(task, layout), layout.mesh.tp,
                              layout.micro_batch_rows * task.rows.sequence_len);
}

// Of a full microbatch on a GPU, with as many documents as it can have.
int64_t AttentionBytesOf(const Task& task, const Layout& layout) {
  const int tp = layout.mesh.tp;
  const int64_t rows = layout.micro_batch_rows, tokens = rows * task.rows.sequence_len;
  AttentionShape shape{.tokens = RoundUp(tokens, tp), .longest = task.rows.sequence_len};
  // A document of its own pads. Deterministic attention may take more with few documents.
  const int64_t padding = shape.tokens > tokens ? 1 : 0;
  int64_t most = 0;
  for (const LayerSpec& layer : task.model.layers) {
    for (const int64_t documents : {rows, rows * task.row_documents}) {
      shape.documents = documents + padding;
      most = std::max(most,
                      AttentionWorkspace(layer, task.form.compute, tp, shape, task.deterministic));
    }
  }
  return most;
}

}  // namespace

DeviceBytes BytesOf(const Task& task, const Layout& layout, const ParameterSet& declared,
                    bool host_is_apart) {
  const int stages = layout.mesh.pp, dp = layout.mesh.size(kDataAxes), zero = layout.zero_stage;
  const auto share = [&](const Parameter& parameter, int64_t bytes, bool is_sharded) {
    return ShareOf(parameter, bytes, layout, is_sharded);
  };
  const std::vector<size_t> stage_of_layer = StagesOfLayers(LayersPerRun(task, layout), stages);
  const bool sharded = zero >= 3 && dp > 1;
  std::vector<DeviceBytes> held(static_cast<size_t>(stages));
  std::map<int, int64_t> windows;  // by group, of values that are not always on the device
  for (const auto& parameter : declared.all()) {
    const TrainingBytes training = TrainingBytesOf(*parameter, task, layout, host_is_apart);
    const bool streamed =
        parameter->group >= 0 && !parameter->trainable && layout.frozen != FrozenPlace::kDevice;
    int64_t value = streamed ? 0 : share(*parameter, ValueBytes(*parameter), sharded);
    const bool table = parameter->group == kEmbeddingGroup && layout.embedding == Place::kHost;
    if (table && host_is_apart) value = 0;
    if ((sharded || streamed) && !table) {
      windows[parameter->group] +=
          share(*parameter, RoundUp(ValueBytes(*parameter), kAlignmentBytes), /*is_sharded=*/false);
    }
    for (const size_t stage : StagesOf(*parameter, stage_of_layer, stages, task.model.head.tied)) {
      held[stage].values += value;
      held[stage].training += share(*parameter, training.gradient, zero >= 2) +
                              share(*parameter, training.state, zero >= 1);
    }
  }
  for (size_t stage = 0; stage < held.size(); ++stage) {
    held[stage].values += WindowBytes(windows, stage_of_layer, stage, task, layout);
    held[stage].copies = CopyBytes(task, layout, stage_of_layer, stage, sharded,
                                   host_is_apart ? c10::kCUDA : c10::kCPU);
  }
  DeviceBytes most = *std::max_element(held.begin(), held.end(), [](const auto& a, const auto& b) {
    return a.values + a.training < b.values + b.training;
  });
  most.values /= layout.mesh.tp;
  most.training /= layout.mesh.tp;
  if (!host_is_apart) most.values += ReaderBytes(declared, layout, sharded);
  if (layout.activations == Place::kDevice || !host_is_apart) {
    most.kept = KeptBytesOf(task, layout, stage_of_layer);
  }
  if (host_is_apart) most.attention = AttentionBytesOf(task, layout);
  return most;
}

int64_t ResultBytes(const Task& task) {
  constexpr int64_t kHeaderBytesOfATensor = 160;  // beside its name
  constexpr int64_t kBytesOfAStep = 340;          // in metrics.jsonl
  constexpr int64_t kBytesOfConfigs = 16 << 10;
  int64_t bytes = kBytesOfConfigs + task.steps * kBytesOfAStep;
  const auto add = [&](const std::vector<TensorSpec>& tensors, at::ScalarType dtype) {
    for (const TensorSpec& tensor : tensors) {
      auto tensor_bytes = static_cast<int64_t>(c10::elementSize(DtypeInFolder(tensor, dtype)));
      for (const int64_t dim : tensor.shape) tensor_bytes *= dim;
      bytes += tensor_bytes + static_cast<int64_t>(tensor.name.size()) + kHeaderBytesOfATensor;
    }
  };
  if (!task.form.adapter) {
    add(ModelTensors(task.model), task.form.compute);
    return bytes;
  }
  add(AdapterTensors(task.model, *task.form.adapter), at::kFloat);
  return bytes;
}

int64_t CheckpointBytes(const Task& task, const ParameterSet& declared) {
  constexpr int64_t kBytesOfATensor = 2048;  // in the manifest and in headers
  int64_t bytes = task.form.adapter ? ResultBytes(task) : 0;
  for (const Parameter* p : declared.Trainable()) {
    const int64_t master = p->dtype == at::kDouble ? 8 : 4;
    const int64_t n = p->slice.GlobalNumel();
    const bool int8 = task.moments == MomentStorage::kInt8 && TakesInt8Moments(*p);
    bytes += n * master + (int8 ? 2 * n + CeilDivide(n, kInt8Block) * 8 : 2 * n * master) +
             kBytesOfATensor;
  }
  return bytes;
}

}  // namespace fttrain

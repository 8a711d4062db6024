#include "launch/plan/layout_keys.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/network/runs.h"

namespace fttrain {
namespace {

const char* WordOf(PipelineKind kind) {
  switch (kind) {
    case PipelineKind::kGPipe:
      return "gpipe";
    case PipelineKind::kInterleaved:
      return "interleaved";
    case PipelineKind::kLayerMajor:
      return "layer_major";
    case PipelineKind::kOneForwardOneBackward:
      break;
  }
  return "1f1b";
}

const char* WordOf(Recompute recompute) {
  return recompute == Recompute::kSmart ? "smart" : "full";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> KeysOf(const Task& task, const Layout& layout,
                                                        MomentStorage moments) {
  const MeshShape& mesh = layout.mesh;
  const auto runs = static_cast<int>(layout.layers_per_run.size());
  const bool layer_major = layout.schedule == PipelineKind::kLayerMajor;
  std::vector<std::pair<std::string, std::string>> keys;
  const auto add = [&](bool is_told, const char* key, auto value) {
    if (is_told) keys.emplace_back(key, absl::StrCat(value));
  };
  add(true, "train.micro_batch_size", layout.micro_batch_rows);
  add(true, "train.gradient_accumulation_steps", StepShapeOf(task, layout).accumulation);
  add(mesh.tp > 1, "parallel.tensor", mesh.tp);
  add(mesh.pp > 1, "parallel.pipeline", mesh.pp);
  add(mesh.ep > 1, "parallel.expert", mesh.ep);
  add(mesh.tp > 1 && !layout.sequence_parallel, "parallel.sequence_parallel", "false");
  add(mesh.dp > 1 && layout.zero_stage != 1, "parallel.zero_stage", layout.zero_stage);
  add(layout.schedule != PipelineKind::kOneForwardOneBackward, "parallel.pipeline_schedule",
      WordOf(layout.schedule));
  add(!layer_major && runs > mesh.pp, "parallel.chunks_per_stage", runs / mesh.pp);
  add(!layer_major && runs > 0 && layout.layers_per_run != BalancedRuns(task.model, runs),
      "parallel.layers_per_stage",
      absl::StrCat("[", absl::StrJoin(layout.layers_per_run, ", "), "]"));
  add(layout.recompute != Recompute::kNone, "memory.recompute", WordOf(layout.recompute));
  add(layout.activations == Place::kHost, "memory.activations", "host");
  add(layout.frozen != FrozenPlace::kDevice, "memory.base_weights",
      layout.frozen == FrozenPlace::kHost ? "host" : "disk");
  add(layout.embedding == Place::kHost, "memory.embedding", "host");
  add(moments == MomentStorage::kInt8, "optimizer.state", "int8");
  add(layout.state == StatePlace::kHost, "optimizer.device", "host");
  return keys;
}

std::string YamlOf(const std::vector<std::pair<std::string, std::string>>& keys) {
  std::string text, section;
  for (const auto& [key, value] : keys) {
    const size_t dot = key.find('.');
    const bool is_new = key.substr(0, dot) != section;
    section = key.substr(0, dot);
    if (is_new && !text.empty()) text += "}\n";
    absl::StrAppend(&text, is_new ? absl::StrCat(section, ": {") : ", ", key.substr(dot + 1), ": ",
                    value);
  }
  return text.empty() ? text : text + "}\n";
}

}  // namespace fttrain

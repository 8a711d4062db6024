#include "launch/run/rehearsal.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launch/run/held_out_loss.h"
#include "launch/run/samples.h"
#include "launch/run/trainer.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int64_t kSteps = 2;

// The step, among the first of `steps`, of the microbatch with most tokens and targets.
int64_t FullestStep(const Task& task, const Layout& layout, RowStream& rows, int64_t steps,
                    int rank) {
  constexpr int64_t kMostMicrobatches = 1600, kMostTokens = int64_t{1} << 24;
  const int replica = IndexIn(layout.mesh, PositionOfRank(layout.mesh, rank), kDataAxes);
  int64_t fullest = 0, most = -1, seen = 0, tokens_seen = 0;
  for (int64_t step = 0; step < steps && seen < kMostMicrobatches && tokens_seen < kMostTokens;
       ++step) {
    for (const Microbatch& each :
         rows.TrainMicrobatches(step, StepShapeOf(task, layout), replica)) {
      const auto tokens = static_cast<int64_t>(each.input_ids.size());
      ++seen;
      tokens_seen += tokens;
      if (tokens + each.num_targets <= most) continue;
      most = tokens + each.num_targets;
      fullest = step;
    }
  }
  return fullest;
}

absl::StatusOr<RankMemory> Rehearse(const Task& task, const Layout& layout, const JobInputs& inputs,
                                    int rank, int64_t first_step) {
  const std::unique_ptr<Process> process = Process::StandIn(rank, layout.mesh.world_size());
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job, Build(task, layout, inputs, *process));
  RankMemory memory = BeginMemory(rank);
  Trainer trainer(*job);
  const int64_t end = std::min(task.steps, first_step + kSteps);
  for (int64_t step = first_step; step < end; ++step) {
    FT_RETURN_IF_ERROR(trainer.Step(step).status());
  }
  if (inputs.held_out != nullptr) {
    RowStream& rows = *inputs.held_out;
    const int64_t steps = CeilDivide(rows.summary().stream_rows, task.rows_per_step);
    SumOfStep(*job->network, rows, FullestStep(task, layout, rows, steps, rank));
  }
  if (inputs.samples != nullptr) RehearseSamples(*job->network, *inputs.samples);
  if (inputs.saving) inputs.saving(*job, *process);
  return WithPeaks(std::move(memory));
}

}  // namespace

absl::StatusOr<RankMemory> RehearseRank(const Task& task, const Layout& layout,
                                        const JobInputs& inputs, int rank, int64_t first_step,
                                        int64_t largest_computed) {
  JobInputs imagined = inputs;
  imagined.weights = [](Network&, const Process&) { return absl::OkStatus(); };
  imagined.backend =
      inputs.device.is_cuda() ? CreateSilentNcclCommunicator : CreateSilentCommunicator;
  imagined.timeout_seconds = 0;
  try {
    const Rehearsal rehearsal(inputs.device, largest_computed);
    return Rehearse(task, layout, imagined, rank, first_step);
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("it could not be rehearsed: ", error.what_without_backtrace()));
  }
}

absl::StatusOr<RankMemory> RehearseFullRows(const Task& task, const Layout& layout,
                                            c10::Device device, int rank, const JobInputs& beside) {
  const int64_t enough = EnoughMicrobatches(task, layout);
  Task full = WithMicrobatches(task, layout, enough);
  full.steps = kSteps;
  full.epochs = 0;
  const std::vector<int32_t> ids(static_cast<size_t>(task.rows.sequence_len), 0);
  const std::vector<Example> examples(static_cast<size_t>(full.rows_per_step), {ids, ids, "full"});
  FT_ASSIGN_OR_RETURN(RowStream rows, RowStream::Create(examples, full.rows));
  JobInputs inputs = beside;
  inputs.rows = std::make_shared<RowStream>(std::move(rows));
  inputs.device = device;
  inputs.left_out = StepShapeOf(task, layout).accumulation - enough;
  return RehearseRank(full, layout, inputs, rank);
}

absl::StatusOr<std::vector<RankMemory>> RehearseAllRanks(const Task& task, const Layout& layout,
                                                         c10::Device device,
                                                         const JobInputs& beside) {
  const MeshShape& mesh = layout.mesh;
  std::vector<std::optional<RankMemory>> known(static_cast<size_t>(mesh.world_size()));
  const auto rank_at = [&](int stage, int tp, int dp) {
    return static_cast<size_t>((dp * mesh.pp + stage) * mesh.tp + tp);
  };
  const auto rehearse = [&](size_t rank) -> absl::Status {
    if (known[rank]) return absl::OkStatus();
    FT_ASSIGN_OR_RETURN(known[rank],
                        RehearseFullRows(task, layout, device, static_cast<int>(rank), beside));
    return absl::OkStatus();
  };
  for (int stage = 0; stage < mesh.pp; ++stage) {
    // Small tensors keep their moments in 32 bits: shards between may differ from both ends.
    bool alike = mesh.dp == 1 || task.moments != MomentStorage::kInt8 || layout.zero_stage == 0;
    const RankMemory* first = nullptr;
    for (const int dp : {0, mesh.dp - 1}) {
      for (const int tp : {0, mesh.tp - 1}) {
        const size_t corner = rank_at(stage, tp, dp);
        FT_RETURN_IF_ERROR(rehearse(corner));
        if (first == nullptr) first = &*known[corner];
        alike &= known[corner]->device == first->device && known[corner]->host == first->host;
      }
    }
    for (int dp = 0; dp < mesh.dp; ++dp) {
      for (int tp = 0; tp < mesh.tp; ++tp) {
        const size_t rank = rank_at(stage, tp, dp);
        if (alike && !known[rank]) known[rank] = *first;
        FT_RETURN_IF_ERROR(rehearse(rank));
        known[rank]->rank = static_cast<int>(rank);
      }
    }
  }
  std::vector<RankMemory> all;
  for (std::optional<RankMemory>& each : known) all.push_back(*std::move(each));
  return all;
}

absl::StatusOr<RankMemory> RehearseOwnRows(const Task& task, const Layout& layout,
                                           const JobInputs& inputs, int rank) {
  // Steps that the run's steps are made of: none has rows of two.
  const int64_t all = StepShapeOf(task, layout).accumulation;
  const int64_t unit = layout.schedule == PipelineKind::kInterleaved ? layout.mesh.pp : 1;
  int64_t few = task.steps < kSteps ? all : EnoughMicrobatches(task, layout);
  while (all % few != 0) few += unit;
  Task parts = WithMicrobatches(task, layout, few);
  parts.steps = task.steps * (all / few);
  const int64_t fullest = FullestStep(parts, layout, *inputs.rows, parts.steps, rank);
  const int64_t first = std::max<int64_t>(0, std::min(fullest, parts.steps - kSteps));
  return RehearseRank(parts, layout, inputs, rank, first);
}

}  // namespace fttrain

#include "launch/run/rehearsal.h"

#include <algorithm>
#include <utility>

#include "launch/run/trainer.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// In the first, memory is asked for that stays; in the second all of that is there.
constexpr int64_t kStepsThatDecide = 2;

absl::StatusOr<RowStream> FullRows(const Task& task, int64_t longest) {
  const int64_t row = task.rows.sequence_len, document = std::min(longest, row);
  std::vector<int64_t> lengths = {document};
  if (task.rows.packing) {
    lengths.assign(static_cast<size_t>(row / document), document);
    if (row % document > 1) lengths.push_back(row % document);  // of one token nothing is learnt
  }
  std::vector<Example> examples;
  for (int64_t i = 0; i < task.rows_per_step; ++i) {
    for (const int64_t length : lengths) {
      const std::vector<int32_t> ids(static_cast<size_t>(length), 0);
      examples.push_back({ids, ids, "a full row"});
    }
  }
  return RowStream::Create(std::move(examples), task.rows);
}

}  // namespace

absl::StatusOr<RankMemory> RehearseRank(const Task& task, const Layout& layout,
                                        const JobInputs& inputs, int rank,
                                        int64_t largest_computed) {
  const std::unique_ptr<Process> process = Process::StandIn(rank, layout.mesh.world_size());
  JobInputs imagined = inputs;
  imagined.weights = [](Network&, const Process&) { return absl::OkStatus(); };
  imagined.backend =
      inputs.device.is_cuda() ? CreateSilentNcclCommunicator : CreateSilentCommunicator;
  imagined.timeout_seconds = 0;
  const Rehearsal rehearsal(inputs.device, largest_computed);
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job, Build(task, layout, imagined, *process));
  RankMemory memory = BeginMemory(rank);
  Trainer trainer(*job);
  for (int64_t step = 0; step < std::min(task.steps, kStepsThatDecide); ++step) {
    FT_RETURN_IF_ERROR(trainer.Step(step).status());
  }
  return WithPeaks(std::move(memory));
}

absl::StatusOr<RankMemory> RehearseFullRows(const Task& task, const Layout& layout,
                                            c10::Device device, int rank, int64_t longest) {
  Task full = task;
  full.steps = kStepsThatDecide;
  full.epochs = 0;
  FT_ASSIGN_OR_RETURN(RowStream rows, FullRows(full, longest));
  JobInputs inputs;
  inputs.rows = std::make_shared<RowStream>(std::move(rows));
  inputs.device = device;
  return RehearseRank(full, layout, inputs, rank);
}

}  // namespace fttrain

#include "parallel/executor.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using Kind = PipelineStep::Kind;
using Cell = std::pair<int, int>;  // chunk, microbatch

int LastChunk(const std::vector<PipelineStep>& steps) {
  int last = 0;
  for (const PipelineStep& step : steps) last = std::max(last, step.chunk);
  return last;
}

// Why the cell cannot run now; empty if it can.
std::string Objection(Kind kind, Cell cell, int last_chunk, const std::set<Cell>& forwards,
                      const std::set<Cell>& backwards) {
  const auto [chunk, microbatch] = cell;
  if (chunk < 0 || microbatch < 0) return "has a negative index";
  const std::set<Cell>& done = kind == Kind::kForward ? forwards : backwards;
  if (done.count(cell) > 0) return "runs twice";
  if (kind == Kind::kForward) {
    if (chunk > 0 && forwards.count({chunk - 1, microbatch}) == 0) {
      return absl::StrCat("runs before the forward of chunk ", chunk - 1);
    }
  } else {
    if (forwards.count(cell) == 0) return "runs before its forward";
    if (chunk < last_chunk && backwards.count({chunk + 1, microbatch}) == 0) {
      return absl::StrCat("runs before the backward of chunk ", chunk + 1);
    }
  }
  return "";
}

absl::Status Refuse(Kind kind, Cell cell, const std::string& why) {
  return absl::InvalidArgumentError(
      absl::StrCat("schedule: the ", kind == Kind::kForward ? "forward" : "backward", " of chunk ",
                   cell.first, ", microbatch ", cell.second, " ", why));
}

// The first chunk after step i that is another one; -1 if there is none.
int NextChunk(const std::vector<PipelineStep>& steps, size_t i) {
  const int chunk = steps[i].chunk;
  while (i < steps.size() && steps[i].chunk == chunk) ++i;
  return i < steps.size() ? steps[i].chunk : -1;
}

// Activations and gradients between a stage's chunks, keyed by the cell that consumes them.
using Edges = std::map<Cell, at::Tensor>;

at::Tensor Take(Edges& edges, Cell cell) {
  auto node = edges.extract(cell);
  return node.empty() ? at::Tensor() : std::move(node.mapped());
}

}  // namespace

absl::Status CheckSchedule(const std::vector<PipelineStep>& steps) {
  const int last_chunk = LastChunk(steps);
  std::set<Cell> forwards, backwards;
  for (const PipelineStep& step : steps) {
    for (const int microbatch : step.microbatches) {
      const Cell cell{step.chunk, microbatch};
      const std::string why = Objection(step.kind, cell, last_chunk, forwards, backwards);
      if (!why.empty()) return Refuse(step.kind, cell, why);
      (step.kind == Kind::kForward ? forwards : backwards).insert(cell);
    }
  }
  for (const Cell& cell : forwards) {
    if (backwards.count(cell) == 0) return Refuse(Kind::kForward, cell, "has no backward");
  }
  return absl::OkStatus();
}

void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage) {
  const absl::Status status = CheckSchedule(steps);
  TORCH_CHECK(status.ok(), status.ToString());
  const int last_chunk = LastChunk(steps);
  Edges inputs, doutputs;
  for (size_t i = 0; i < steps.size(); ++i) {
    const PipelineStep& step = steps[i];
    const int chunk = step.chunk;
    if (i == 0 || steps[i - 1].chunk != chunk) stage.AcquireChunk(chunk, NextChunk(steps, i));
    for (const int microbatch : step.microbatches) {
      if (step.kind == Kind::kForward) {
        at::Tensor output = stage.Forward(chunk, microbatch, Take(inputs, {chunk, microbatch}));
        if (chunk < last_chunk) inputs[{chunk + 1, microbatch}] = std::move(output);
      } else {
        at::Tensor dinput = stage.Backward(chunk, microbatch, Take(doutputs, {chunk, microbatch}));
        if (chunk > 0) doutputs[{chunk - 1, microbatch}] = std::move(dinput);
      }
    }
    if (i + 1 == steps.size() || steps[i + 1].chunk != chunk) stage.ReleaseChunk(chunk);
  }
}

}  // namespace fttrain

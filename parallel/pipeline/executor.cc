#include "parallel/pipeline/executor.h"

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

constexpr Kind kKinds[] = {Kind::kForward, Kind::kBackward};

Flow FlowOf(Kind kind) { return kind == Kind::kForward ? Flow::kForward : Flow::kBackward; }

class Run {
 public:
  Run(const std::vector<PipelineStep>& steps, StageModule& stage, StageLinks& links)
      : steps_(steps),
        stage_(stage),
        links_(links),
        last_run_((LastChunk(steps) + 1) * links.num_stages() - 1) {
    if (alone()) return;
    for (const PipelineStep& step : steps) {
      if (!HasSource(step.kind, step.chunk)) continue;
      std::vector<int>& messages = Of(step.kind).microbatches;
      messages.insert(messages.end(), step.microbatches.begin(), step.microbatches.end());
    }
  }

  void All() {
    for (const Kind kind : kKinds) PostAhead(kind);
    for (size_t i = 0; i < steps_.size(); ++i) {
      const auto& [kind, chunk, microbatches] = steps_[i];
      if (i == 0 || steps_[i - 1].chunk != chunk) stage_.AcquireChunk(chunk, NextChunk(steps_, i));
      for (size_t j = 0; j < microbatches.size(); ++j) {
        AnnounceBackward(i, j);
        Do(kind, chunk, microbatches[j]);
      }
      if (i + 1 == steps_.size() || steps_[i + 1].chunk != chunk) stage_.ReleaseChunk(chunk);
    }
    links_.FinishSends();
  }

 private:
  // What this stage takes of one flow, in order.
  struct Incoming {
    std::vector<int> microbatches;
    size_t posted = 0, taken = 0;
  };

  bool alone() const { return links_.num_stages() == 1; }
  Incoming& Of(Kind kind) { return incoming_[kind == Kind::kForward ? 0 : 1]; }
  int RunOf(int chunk) const { return chunk * links_.num_stages() + links_.stage(); }
  // Whether the run before (forward) or after (backward) gives the chunk its input.
  bool HasSource(Kind kind, int chunk) const {
    return kind == Kind::kForward ? RunOf(chunk) > 0 : RunOf(chunk) < last_run_;
  }
  bool HasTarget(Kind kind, int chunk) const {
    return kind == Kind::kForward ? RunOf(chunk) < last_run_ : RunOf(chunk) > 0;
  }

  // If one comes after microbatch j of step i.
  void AnnounceBackward(size_t i, size_t j) {
    if (++j == steps_[i].microbatches.size()) {
      if (++i == steps_.size()) return;
      j = 0;
    }
    if (steps_[i].kind != Kind::kBackward || steps_[i].microbatches.empty()) return;
    stage_.BackwardFollows(steps_[i].chunk, steps_[i].microbatches[j]);
  }

  void PostAhead(Kind kind) {
    Incoming& in = Of(kind);
    const size_t places = static_cast<size_t>(links_.places());
    while (in.posted < in.microbatches.size() && in.posted < in.taken + places) {
      MessageSpec spec = stage_.Boundary(in.microbatches[in.posted++]);
      spec.category = kind == Kind::kForward ? MemoryCategory::kSaved : MemoryCategory::kWorkspace;
      links_.Post(FlowOf(kind), std::move(spec));
    }
  }

  at::Tensor Take(Kind kind, int chunk, int microbatch) {
    if (!HasSource(kind, chunk)) return {};
    if (alone()) return std::move(waiting_.extract({chunk, microbatch}).mapped());
    at::Tensor tensor = links_.Take(FlowOf(kind));
    ++Of(kind).taken;
    PostAhead(kind);
    return tensor;
  }

  void Give(Kind kind, int chunk, int microbatch, at::Tensor tensor) {
    if (!HasTarget(kind, chunk)) return;
    if (alone()) {
      waiting_[{kind == Kind::kForward ? chunk + 1 : chunk - 1, microbatch}] = std::move(tensor);
    } else {
      links_.Send(FlowOf(kind), tensor.contiguous());
    }
  }

  void Do(Kind kind, int chunk, int microbatch) {
    at::Tensor input = Take(kind, chunk, microbatch);
    Give(kind, chunk, microbatch,
         kind == Kind::kForward ? stage_.Forward(chunk, microbatch, std::move(input))
                                : stage_.Backward(chunk, microbatch, std::move(input)));
  }

  const std::vector<PipelineStep>& steps_;
  StageModule& stage_;
  StageLinks& links_;
  int last_run_;
  Incoming incoming_[2];
  // On the only stage: activations and gradients between chunks, by the cell that takes them. A
  // microbatch is on its way forward or backward, so the two do not meet.
  std::map<Cell, at::Tensor> waiting_;
};

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

void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage, StageLinks& links) {
  const absl::Status status = CheckSchedule(steps);
  TORCH_CHECK(status.ok(), status.ToString());
  Run(steps, stage, links).All();
}

void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage) {
  RunSchedule(steps, stage, *StageLinks::None());
}

}  // namespace fttrain

#include "parallel/pipeline/executor.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "parallel/pipeline/arrivals.h"

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

constexpr Kind kKinds[] = {Kind::kForward, Kind::kBackward};

Flow FlowOf(Kind kind) { return kind == Kind::kForward ? Flow::kForward : Flow::kBackward; }

class Run {
 public:
  // arrivals: of each microbatch (ArrivalsAt); empty where the links post ahead.
  Run(const std::vector<PipelineStep>& steps, std::vector<Arrivals> arrivals, StageModule& stage,
      StageLinks& links)
      : steps_(steps),
        arrivals_(std::move(arrivals)),
        stage_(stage),
        links_(links),
        last_run_((LastChunk(steps) + 1) * links.num_stages() - 1),
        ahead_(static_cast<size_t>(links.places())) {
    if (alone()) return;
    for (const PipelineStep& step : steps) {
      if (!HasSource(step.kind, step.chunk)) continue;
      for (const int microbatch : step.microbatches) {
        Of(step.kind).messages.push_back({microbatch, step.kept});
      }
    }
  }

  void All() {
    stage_.BeginSchedule(steps_);
    PostAhead();
    for (const PipelineStep& step : steps_) {
      for (const int microbatch : step.microbatches) Do(step.kind, step.chunk, microbatch);
    }
    links_.FinishSends();
  }

 private:
  // What this stage takes of one flow, in order.
  struct Message {
    int microbatch;
    bool kept;
  };
  struct Incoming {
    std::vector<Message> messages;
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

  // Has the first `count` messages posted.
  void Post(Kind kind, size_t count) {
    Incoming& in = Of(kind);
    while (in.posted < in.messages.size() && in.posted < count) {
      const Message& message = in.messages[in.posted++];
      MessageSpec spec = stage_.Boundary(message.microbatch);
      const bool saved = kind == Kind::kForward && message.kept;
      spec.category = saved ? MemoryCategory::kSaved : MemoryCategory::kWorkspace;
      links_.Post(FlowOf(kind), std::move(spec));
    }
  }

  // Before the next microbatch: what may be posted by then.
  void PostAhead() {
    if (alone()) return;
    if (arrivals_.empty()) {
      for (const Kind kind : kKinds) Post(kind, Of(kind).taken + ahead_);
    } else if (next_ < arrivals_.size()) {
      Post(Kind::kForward, arrivals_[next_].forward);
      Post(Kind::kBackward, arrivals_[next_].backward);
    }
    links_.Ask();
  }

  at::Tensor Take(Kind kind, int chunk, int microbatch) {
    if (!HasSource(kind, chunk)) return {};
    if (alone()) return std::move(waiting_.extract({chunk, microbatch}).mapped());
    at::Tensor tensor = links_.Take(FlowOf(kind));
    ++Of(kind).taken;
    if (arrivals_.empty()) PostAhead();
    return tensor;
  }

  void Give(Kind kind, int chunk, int microbatch, at::Tensor tensor) {
    if (!HasTarget(kind, chunk)) return;
    if (alone()) {
      waiting_[{kind == Kind::kForward ? chunk + 1 : chunk - 1, microbatch}] = std::move(tensor);
    } else {
      links_.Send(FlowOf(kind), tensor);
    }
  }

  void Do(Kind kind, int chunk, int microbatch) {
    at::Tensor input = Take(kind, chunk, microbatch);
    at::Tensor output = kind == Kind::kForward
                            ? stage_.Forward(chunk, microbatch, std::move(input))
                            : stage_.Backward(chunk, microbatch, std::move(input));
    if (!alone() && output.defined()) output = output.contiguous();
    ++next_;
    // Before the send: what occupies the device is not to hold up the memory of a receive.
    PostAhead();
    Give(kind, chunk, microbatch, std::move(output));
  }

  const std::vector<PipelineStep>& steps_;
  std::vector<Arrivals> arrivals_;
  size_t next_ = 0;  // of arrivals_
  StageModule& stage_;
  StageLinks& links_;
  int last_run_;
  size_t ahead_;  // messages that are posted before their turn, without arrivals
  Incoming incoming_[2];
  // On the only stage: activations and gradients between chunks, by the cell that takes them. A
  // microbatch is on its way forward or backward, so the two do not meet.
  std::map<Cell, at::Tensor> waiting_;
};

}  // namespace

absl::Status CheckSchedule(const std::vector<PipelineStep>& steps) {
  const int last_chunk = LastChunk(steps);
  std::set<Cell> forwards, backwards;
  std::map<int, bool> kept;  // by microbatch
  for (const PipelineStep& step : steps) {
    for (const int microbatch : step.microbatches) {
      const Cell cell{step.chunk, microbatch};
      const std::string why = Objection(step.kind, cell, last_chunk, forwards, backwards);
      if (!why.empty()) return Refuse(step.kind, cell, why);
      (step.kind == Kind::kForward ? forwards : backwards).insert(cell);
      if (step.kind != Kind::kForward) continue;
      if (kept.try_emplace(microbatch, step.kept).first->second != step.kept) {
        return Refuse(Kind::kForward, cell, "is kept in one chunk and not in another");
      }
    }
  }
  for (const Cell& cell : forwards) {
    if (kept.at(cell.second) == (backwards.count(cell) > 0)) continue;
    return Refuse(Kind::kForward, cell,
                  kept.at(cell.second) ? "has no backward" : "keeps nothing, but has a backward");
  }
  return absl::OkStatus();
}

void RunSchedule(const PipelineSchedule& stages, StageModule& stage, StageLinks& links) {
  TORCH_CHECK(stages.size() == static_cast<size_t>(links.num_stages()), "a schedule of ",
              stages.size(), " stages on ", links.num_stages());
  const std::vector<PipelineStep>& steps = stages[static_cast<size_t>(links.stage())];
  const absl::Status status = CheckSchedule(steps);
  TORCH_CHECK(status.ok(), status.ToString());
  absl::StatusOr<std::vector<Arrivals>> arrivals = std::vector<Arrivals>();
  if (!links.PostsAhead()) arrivals = ArrivalsAt(links.stage(), stages);
  TORCH_CHECK(arrivals.ok(), arrivals.status().ToString());
  Run(steps, *std::move(arrivals), stage, links).All();
}

void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage) {
  RunSchedule(PipelineSchedule{steps}, stage, *StageLinks::None());
}

}  // namespace fttrain

#include "parallel/pipeline/simulator.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using Kind = PipelineStep::Kind;

// One chunk for one microbatch; `run` counts the model's runs of layers over all stages. A head is
// counted as its stage's first run.
struct Cell {
  Kind kind;
  int run, microbatch;
  auto Key() const { return std::tuple(kind, run, microbatch); }
  bool operator<(const Cell& other) const { return Key() < other.Key(); }
  bool operator==(const Cell& other) const { return Key() == other.Key(); }
};

std::string Name(const Cell& cell) {
  constexpr const char* kNames[] = {"forward", "backward", "head"};
  return absl::StrCat("the ", kNames[static_cast<int>(cell.kind)], " of run ", cell.run,
                      ", microbatch ", cell.microbatch);
}

// Messages of one direction between two stages, in the order sent.
struct Channel {
  std::vector<Cell> sent;
  std::vector<double> arrives_at, taken_at;
};

class Simulator {
 public:
  Simulator(const std::vector<std::vector<PipelineStep>>& stages, const SimulationOptions& options)
      : options_(options), num_stages_(static_cast<int>(stages.size())) {
    for (int stage = 0; stage < num_stages_; ++stage) {
      std::vector<Cell>& cells = cells_.emplace_back();
      for (const PipelineStep& step : stages[stage]) {
        const int run = step.chunk * num_stages_ + stage;
        runs_ = std::max(runs_, run + 1);
        heads_ |= step.kind == Kind::kHead;
        for (const int microbatch : step.microbatches) {
          cells.push_back({step.kind, run, microbatch});
        }
      }
    }
    next_.resize(num_stages_);
    clock_.resize(num_stages_);
    busy_.resize(num_stages_);
    computed_.resize(num_stages_);
    handed_.resize(num_stages_);
  }

  absl::StatusOr<Simulation> Run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (int stage = 0; stage < num_stages_; ++stage) {
        while (next_[stage] < cells_[stage].size()) {
          const absl::StatusOr<bool> done = Advance(stage);
          if (!done.ok()) return done.status();
          if (!*done) break;
          progress = true;
        }
      }
    }
    for (int stage = 0; stage < num_stages_; ++stage) {
      if (next_[stage] == cells_[stage].size()) continue;
      return absl::InvalidArgumentError(absl::StrCat("stage ", stage, " waits for ever with ",
                                                     Name(cells_[stage][next_[stage]])));
    }
    return Simulation{*std::max_element(clock_.begin(), clock_.end()), busy_};
  }

 private:
  // What the cell's inputs come from; none at the beginning of the model.
  std::vector<Cell> Sources(const Cell& cell) const {
    const Cell end{Kind::kForward, runs_ - 1, cell.microbatch};
    if (cell.kind == Kind::kHead) {
      std::vector<Cell> sources = {end};
      if (cell.run == num_stages_ - 1) {
        for (int s = 0; s < cell.run; ++s) sources.push_back({Kind::kHead, s, cell.microbatch});
      }
      return sources;
    }
    if (cell.kind == Kind::kForward) {
      if (cell.run == 0) return {};
      return {{Kind::kForward, cell.run - 1, cell.microbatch}};
    }
    if (cell.run < runs_ - 1) return {{Kind::kBackward, cell.run + 1, cell.microbatch}};
    // The last run's backward follows its own forward.
    return {end};
  }
  // The stages that take what the cell gives.
  std::vector<int> Targets(const Cell& cell) const {
    const int last = num_stages_ - 1;
    if (cell.kind == Kind::kHead) return {last};  // on the last stage itself: nowhere
    const int run = cell.kind == Kind::kForward ? cell.run + 1 : cell.run - 1;
    if (run >= 0 && run < runs_) return {run % num_stages_};
    std::vector<int> others;
    for (int s = 0; run == runs_ && heads_ && s < last; ++s) others.push_back(s);
    return others;
  }
  // Does what the stage's next cell can do now: compute, or hand on what is computed.
  absl::StatusOr<bool> Advance(int stage) {
    if (!computed_[stage]) return Compute(stage);
    return Deliver(stage);
  }

  absl::StatusOr<bool> Compute(int stage) {
    const Cell& cell = cells_[stage][next_[stage]];
    // A backward needs its own forward and head, whatever else it waits for.
    for (const Kind kind : {Kind::kForward, Kind::kHead}) {
      if (cell.kind != Kind::kBackward || (kind == Kind::kHead && !heads_)) continue;
      if (done_.count({kind, cell.run, cell.microbatch}) == 0) return false;
    }
    std::vector<Channel*> taken;
    for (const Cell& source : Sources(cell)) {
      if (source.run % num_stages_ == stage) {
        if (done_.count(source) == 0) return false;
        continue;
      }
      Channel& in = channels_[{source.kind, source.run % num_stages_, stage}];
      const size_t index = in.taken_at.size();
      if (index >= in.sent.size()) return false;
      if (!(in.sent[index] == source)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "stage ", stage, ": ", Name(cell), " would take the output of ", Name(in.sent[index])));
      }
      taken.push_back(&in);
    }
    for (Channel* in : taken) {
      clock_[stage] = std::max(clock_[stage], in->arrives_at[in->taken_at.size()]);
      in->taken_at.push_back(clock_[stage]);
    }
    const double seconds = SecondsOf(cell);
    clock_[stage] += seconds;
    busy_[stage] += seconds;
    done_.insert(cell);
    computed_[stage] = true;
    return true;
  }

  double SecondsOf(const Cell& cell) const {
    if (cell.kind == Kind::kHead) return options_.head_seconds;
    const bool forward = cell.kind == Kind::kForward;
    const std::vector<double>& of_run =
        forward ? options_.forward_of_run : options_.backward_of_run;
    if (!of_run.empty()) return of_run.at(static_cast<size_t>(cell.run));
    return forward ? options_.forward_seconds : options_.backward_seconds;
  }

  double TransferSeconds(const Cell& cell) const {
    double seconds = -1.0;
    if (cell.kind == Kind::kHead) seconds = options_.head_part_seconds;
    if (cell.kind == Kind::kForward && cell.run == runs_ - 1) seconds = options_.head_rows_seconds;
    return seconds < 0 ? options_.transfer_seconds : seconds;
  }

  // To one stage after the other, as far as there are places.
  bool Deliver(int stage) {
    const Cell& cell = cells_[stage][next_[stage]];
    const std::vector<int> targets = Targets(cell);
    for (size_t& i = handed_[stage]; i < targets.size(); ++i) {
      if (targets[i] == stage) continue;
      Channel& out = channels_[{cell.kind, stage, targets[i]}];
      const int waiting = static_cast<int>(out.sent.size()) - options_.buffers;
      if (waiting >= static_cast<int>(out.taken_at.size())) return false;
      if (waiting >= 0) clock_[stage] = std::max(clock_[stage], out.taken_at[waiting]);
      out.sent.push_back(cell);
      const double free_at = out.arrives_at.empty() ? 0.0 : out.arrives_at.back();
      out.arrives_at.push_back(std::max(clock_[stage], free_at) + TransferSeconds(cell));
    }
    handed_[stage] = 0;
    computed_[stage] = false;
    ++next_[stage];
    return true;
  }

  SimulationOptions options_;
  int num_stages_, runs_ = 0;
  bool heads_ = false;
  std::vector<std::vector<Cell>> cells_;
  std::vector<size_t> next_;
  std::vector<double> clock_, busy_;
  std::vector<bool> computed_;  // the next cell has run and waits to be handed on
  std::vector<size_t> handed_;  // to so many of its targets
  std::set<Cell> done_;
  std::map<std::tuple<Kind, int, int>, Channel> channels_;
};

}  // namespace

absl::StatusOr<Simulation> Simulate(const std::vector<std::vector<PipelineStep>>& stages,
                                    const SimulationOptions& options) {
  return Simulator(stages, options).Run();
}

}  // namespace fttrain

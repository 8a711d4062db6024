#include "parallel/pipeline/simulator.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using Kind = PipelineStep::Kind;

// One chunk for one microbatch; `run` counts the model's runs of layers over all stages.
struct Cell {
  Kind kind;
  int run, microbatch;
  auto Key() const { return std::tuple(kind == Kind::kForward, run, microbatch); }
  bool operator<(const Cell& other) const { return Key() < other.Key(); }
  bool operator==(const Cell& other) const { return Key() == other.Key(); }
};

std::string Name(const Cell& cell) {
  return absl::StrCat("the ", cell.kind == Kind::kForward ? "forward" : "backward", " of run ",
                      cell.run, ", microbatch ", cell.microbatch);
}

// Messages of one direction between two stages, in the order sent.
struct Channel {
  std::vector<Cell> sent;
  std::vector<double> arrives_at, taken_at;
  size_t expected = 0;  // in all
};

// What a cell does next: get its input, run, hand on what it has made.
enum class Phase { kTake, kCompute, kDeliver };

class Simulator {
 public:
  Simulator(const std::vector<std::vector<PipelineStep>>& stages, const SimulationOptions& options)
      : options_(options), num_stages_(static_cast<int>(stages.size())) {
    for (int stage = 0; stage < num_stages_; ++stage) {
      std::vector<Cell>& cells = cells_.emplace_back();
      for (const PipelineStep& step : stages[stage]) {
        const int run = step.chunk * num_stages_ + stage;
        runs_ = std::max(runs_, run + 1);
        for (const int microbatch : step.microbatches) {
          cells.push_back({step.kind, run, microbatch});
        }
      }
    }
    next_.resize(num_stages_);
    clock_.resize(num_stages_);
    busy_.resize(num_stages_);
    begins_.resize(num_stages_);
    phase_.resize(num_stages_);
    for (int stage = 0; stage < num_stages_; ++stage) {
      for (const Cell& cell : cells_[stage]) {
        if (Channel* in = IncomingOf(stage, cell)) ++in->expected;
      }
    }
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
    return Simulation{*std::max_element(clock_.begin(), clock_.end()), busy_, begins_};
  }

 private:
  double SecondsOf(const Cell& cell) const {
    const bool forward = cell.kind == Kind::kForward;
    const std::vector<double>& of_run =
        forward ? options_.forward_of_run : options_.backward_of_run;
    if (!of_run.empty()) return of_run.at(static_cast<size_t>(cell.run));
    return forward ? options_.forward_seconds : options_.backward_seconds;
  }

  // What the cell's input comes from; none at the ends of the model.
  std::optional<Cell> Source(const Cell& cell) const {
    if (cell.kind == Kind::kForward) {
      if (cell.run == 0) return std::nullopt;
      return Cell{Kind::kForward, cell.run - 1, cell.microbatch};
    }
    // The last run's backward follows its own forward.
    if (cell.run == runs_ - 1) return Cell{Kind::kForward, cell.run, cell.microbatch};
    return Cell{Kind::kBackward, cell.run + 1, cell.microbatch};
  }
  std::optional<int> Target(const Cell& cell) const {
    const int run = cell.kind == Kind::kForward ? cell.run + 1 : cell.run - 1;
    if (run < 0 || run >= runs_) return std::nullopt;
    return run % num_stages_;
  }

  // What brings the cell its input from another stage; null where none does.
  Channel* IncomingOf(int stage, const Cell& cell) {
    const std::optional<Cell> source = Source(cell);
    if (!source || source->run % num_stages_ == stage) return nullptr;
    return &channels_[{cell.kind, source->run % num_stages_, stage}];
  }

  // When the receives that the stage has posted ahead have all come; nothing if one of them is not
  // sent yet.
  std::optional<double> PostedAheadCome(int stage) const {
    double come = 0;
    if (options_.posted_ahead == 0) return come;
    for (const auto& [between, in] : channels_) {
      if (std::get<2>(between) != stage) continue;
      const size_t posted =
          std::min(in.expected, in.taken_at.size() + static_cast<size_t>(options_.posted_ahead));
      if (posted > in.sent.size()) return std::nullopt;
      if (posted > 0) come = std::max(come, in.arrives_at[posted - 1]);
    }
    return come;
  }

  // Does what the stage's next cell can do now.
  absl::StatusOr<bool> Advance(int stage) {
    switch (phase_[stage]) {
      case Phase::kTake:
        return Take(stage);
      case Phase::kCompute:
        return Compute(stage);
      default:
        return Deliver(stage);
    }
  }

  absl::StatusOr<bool> Take(int stage) {
    const Cell& cell = cells_[stage][next_[stage]];
    const std::optional<Cell> source = Source(cell);
    if (Channel* in = IncomingOf(stage, cell)) {
      const size_t index = in->taken_at.size();
      if (index >= in->sent.size()) return false;
      if (!(in->sent[index] == *source)) {
        return absl::InvalidArgumentError(absl::StrCat("stage ", stage, ": ", Name(cell),
                                                       " would take the output of ",
                                                       Name(in->sent[index])));
      }
      clock_[stage] = std::max(clock_[stage], in->arrives_at[index]);
      in->taken_at.push_back(clock_[stage]);
    } else if (source && done_.count(*source) == 0) {
      return false;
    }
    phase_[stage] = Phase::kCompute;
    return true;
  }

  bool Compute(int stage) {
    const Cell& cell = cells_[stage][next_[stage]];
    // A backward needs its own forward, whatever else it waits for.
    if (cell.kind == Kind::kBackward &&
        done_.count({Kind::kForward, cell.run, cell.microbatch}) == 0) {
      return false;
    }
    const std::optional<double> come = PostedAheadCome(stage);
    if (!come) return false;
    const double seconds = SecondsOf(cell);
    clock_[stage] = std::max(clock_[stage], *come) + seconds;
    busy_[stage] += seconds;
    begins_[stage].push_back(clock_[stage] - seconds);
    done_.insert(cell);
    phase_[stage] = Phase::kDeliver;
    return true;
  }

  bool Deliver(int stage) {
    const Cell& cell = cells_[stage][next_[stage]];
    const std::optional<int> to = Target(cell);
    if (to && *to != stage) {
      Channel& out = channels_[{cell.kind, stage, *to}];
      const int waiting = static_cast<int>(out.sent.size()) - options_.buffers;
      if (waiting >= static_cast<int>(out.taken_at.size())) return false;
      if (waiting >= 0) clock_[stage] = std::max(clock_[stage], out.taken_at[waiting]);
      out.sent.push_back(cell);
      const double free_at = out.arrives_at.empty() ? 0.0 : out.arrives_at.back();
      out.arrives_at.push_back(std::max(clock_[stage], free_at) + options_.transfer_seconds);
    }
    phase_[stage] = Phase::kTake;
    ++next_[stage];
    return true;
  }

  SimulationOptions options_;
  int num_stages_, runs_ = 0;
  std::vector<std::vector<Cell>> cells_;
  std::vector<size_t> next_;
  std::vector<double> clock_, busy_;
  std::vector<std::vector<double>> begins_;
  std::vector<Phase> phase_;  // of the next cell
  std::set<Cell> done_;
  std::map<std::tuple<Kind, int, int>, Channel> channels_;
};

}  // namespace

absl::StatusOr<Simulation> Simulate(const std::vector<std::vector<PipelineStep>>& stages,
                                    const SimulationOptions& options) {
  return Simulator(stages, options).Run();
}

}  // namespace fttrain

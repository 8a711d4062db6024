// What a run's evaluations say of it: the lowest loss so far, and whether to go on. Pure: every
// rank has the same numbers and comes to the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "launch/plan/task.h"

namespace fttrain {

// Stops as transformers' EarlyStoppingCallback does.
class Evaluations {
 public:
  struct Best {
    int64_t step = 0;  // steps done
    double loss = 0;
    std::string folder = {};  // of its checkpoint; empty: the run's own
  };

  explicit Evaluations(const StoppingOptions& options = {}) : options_(options) {}

  // A loss after `step` steps. Whether it is the lowest so far; one that is not finite never is.
  bool Add(int64_t step, double loss);
  bool ShouldStop() const { return options_.patience > 0 && in_a_row_ >= options_.patience; }
  // Without a loss that is lower by more than the threshold.
  int64_t in_a_row() const { return in_a_row_; }
  const std::optional<Best>& best() const { return best_; }

  // What was the best so far was another run's, which keeps its checkpoints there.
  void BestIsIn(const std::string& folder);

  // What it has seen, for a run that goes on; exact. False for a text that State() did not make.
  std::string State() const;
  bool Restore(absl::string_view state);

 private:
  StoppingOptions options_;
  std::optional<Best> best_;
  int64_t in_a_row_ = 0;
};

}  // namespace fttrain

// Steps that nothing is learnt from: their loss or gradient norm is not finite, or their loss is
// far above those before. Pure: every rank has the same numbers and comes to the same.
#pragma once

#include <deque>
#include <string>

#include "absl/strings/string_view.h"
#include "launch/plan/task.h"

namespace fttrain {

class LossGuard {
 public:
  static constexpr char kNotFinite[] = "not finite";

  explicit LossGuard(const GuardOptions& options = {}) : options_(options) {}

  // Of the next step's global numbers: why it is passed over, in words; empty: it is learnt from.
  std::string Judge(double loss, double grad_norm);
  // Whether too many in a row were passed over.
  bool Exhausted() const { return in_a_row_ > options_.max_in_a_row; }
  int64_t in_a_row() const { return in_a_row_; }
  const GuardOptions& options() const { return options_; }

  // What it has seen, for a run that goes on; exact. False for a text that State() did not make.
  std::string State() const;
  bool Restore(absl::string_view state);

 private:
  bool Spikes(double loss) const;

  GuardOptions options_;
  int64_t in_a_row_ = 0;
  std::deque<double> losses_;  // the last ones that were learnt from, where spikes are looked for
};

}  // namespace fttrain

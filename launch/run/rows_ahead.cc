#include "launch/run/rows_ahead.h"

#include <system_error>
#include <utility>

namespace fttrain {

void RowsAhead::Prepare(int64_t step) {
  if (prepared_ == step) return;
  prepared_ = step;
  const auto make = [this, step] { return rows_->TrainMicrobatches(step, shape_, dp_rank_); };
  try {
    next_ = std::async(std::launch::async, make);
  } catch (const std::system_error&) {
    prepared_ = -1;  // a limit of the machine or the container: Take makes them
  }
}

std::vector<Microbatch> RowsAhead::Take(int64_t step) {
  if (std::exchange(prepared_, -1) == step) return next_.get();
  if (next_.valid()) next_.wait();
  return rows_->TrainMicrobatches(step, shape_, dp_rank_);
}

}  // namespace fttrain

// A rank's rows, brought into shape while the step before them computes.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <vector>

#include "data/packing/packer.h"

namespace fttrain {

class RowsAhead {
 public:
  RowsAhead(std::shared_ptr<RowStream> rows, StepShape shape, int64_t dp_rank)
      : rows_(std::move(rows)), shape_(shape), dp_rank_(dp_rank) {}
  // Waits for what is being prepared.
  ~RowsAhead() = default;
  RowsAhead(const RowsAhead&) = delete;
  RowsAhead& operator=(const RowsAhead&) = delete;

  // Begins with the microbatches of `step` on a thread of its own, in place of others that were
  // prepared.
  void Prepare(int64_t step);
  // These microbatches: those that were prepared, as soon as they are there; else they are made
  // now. Equal in both cases. Throws what making them threw.
  std::vector<Microbatch> Take(int64_t step);

 private:
  std::shared_ptr<RowStream> rows_;
  StepShape shape_;
  int64_t dp_rank_;
  int64_t prepared_ = -1;                      // the step; -1: none
  std::future<std::vector<Microbatch>> next_;  // last: its thread uses the others
};

}  // namespace fttrain

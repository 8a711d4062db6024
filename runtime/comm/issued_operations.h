// The operations of one stream, for whoever asks from another thread which of them stands still.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "runtime/process/activity.h"

namespace fttrain {

// Event: `bool query() const`, whether it is done, from any thread, as at::cuda::CUDAEvent has; of
// operations that finish in the order added.
template <typename Event>
class IssuedOperations {
 public:
  struct Operation {
    const char* name;  // a literal
    int64_t bytes;
    int rank;      // of the job, with which it is; -1 where it is with several
    int64_t call;  // its number among the collectives; 0: it is none
    std::shared_ptr<Event> event;
  };

  void Add(Operation operation) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Forget();
    open_.push_back(std::move(operation));
  }

  // `over`: what the operations go over, in words.
  Activity::Source::State Look(const std::string& over) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Forget();
    Activity::Source::State state;
    state.finished = finished_;
    if (!open_.empty()) {
      const Operation& oldest = open_.front();
      state.open = OperationText(oldest.name, over, oldest.bytes, oldest.rank, oldest.call);
    }
    return state;
  }

 private:
  // Two queries an operation in the long run: one that ends the loop, one that lets it go.
  void Forget() {
    for (; !open_.empty() && open_.front().event->query(); ++finished_) open_.pop_front();
  }

  std::mutex mutex_;
  std::deque<Operation> open_;
  int64_t finished_ = 0;
};

}  // namespace fttrain

// The operations of one stream, for whoever asks from another thread which of them stands still.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "runtime/process/activity.h"

namespace fttrain {

// Event: `bool Finished() const`, from any thread; of operations that finish in the order added.
template <typename Event>
class IssuedOperations {
 public:
  struct Operation {
    const char* name;  // a literal
    int64_t bytes;
    int rank;  // of the job, with which it is; -1 where it is with several
    std::shared_ptr<Event> event;
  };

  // Forgets what is finished now and then, when it has doubled.
  void Add(Operation operation) {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_.push_back(std::move(operation));
    if (open_.size() < most_) return;
    Forget();
    most_ = std::max(kLeast, 2 * open_.size());
  }

  // `over`: what the operations go over, in words.
  Activity::Source::State Look(const std::string& over) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Forget();
    Activity::Source::State state;
    state.finished = finished_;
    if (!open_.empty()) {
      const Operation& oldest = open_.front();
      state.open = OperationText(oldest.name, over, oldest.bytes, oldest.rank);
    }
    return state;
  }

 private:
  static constexpr size_t kLeast = 256;

  void Forget() {
    const auto open = std::partition_point(
        open_.begin(), open_.end(), [](const Operation& each) { return each.event->Finished(); });
    finished_ += std::distance(open_.begin(), open);
    open_.erase(open_.begin(), open);
  }

  std::mutex mutex_;
  std::deque<Operation> open_;
  size_t most_ = kLeast;
  int64_t finished_ = 0;
};

}  // namespace fttrain

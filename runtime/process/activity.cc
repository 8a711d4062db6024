#include "runtime/process/activity.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fttrain {

std::string OperationText(const char* name, const std::string& over, int64_t bytes, int rank,
                          int64_t call) {
  std::string text = absl::StrCat(name, "[", over, "]");
  if (rank >= 0) absl::StrAppend(&text, " with rank ", rank);
  if (call > 0) absl::StrAppend(&text, ", call ", call);
  if (bytes > 0) absl::StrAppend(&text, ", ", bytes, " bytes");
  return text;
}

void Activity::Add(Source* source) {
  const std::lock_guard<std::mutex> lock(mutex_);
  sources_.push_back(source);
}

void Activity::Remove(Source* source) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::erase(sources_, source);
}

const std::string* Activity::Intern(std::string text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return &*kept_.insert(std::move(text)).first;
}

Activity::Waiting::Waiting(Activity* activity, const char* name, const std::string* over,
                           int64_t bytes, int rank, int64_t call)
    : activity_(activity) {
  if (activity_ == nullptr) return;
  if (activity_->name_.load(std::memory_order_relaxed) != nullptr) {
    activity_ = nullptr;
    return;
  }
  activity_->over_.store(over, std::memory_order_relaxed);
  activity_->bytes_.store(bytes, std::memory_order_relaxed);
  activity_->rank_.store(rank, std::memory_order_relaxed);
  activity_->call_.store(call, std::memory_order_relaxed);
  // Whoever sees the name sees what goes with it.
  activity_->name_.store(name, std::memory_order_release);
  activity_->Moved();
}

Activity::Waiting::~Waiting() {
  if (activity_ == nullptr) return;
  activity_->name_.store(nullptr, std::memory_order_relaxed);
  activity_->Moved();
}

Activity::State Activity::Look() {
  State state;
  state.moves = moves_.load(std::memory_order_relaxed);
  if (const char* name = name_.load(std::memory_order_acquire)) {
    const std::string* over = over_.load(std::memory_order_relaxed);
    state.waits_for.push_back(OperationText(
        name, over == nullptr ? "all ranks" : *over, bytes_.load(std::memory_order_relaxed),
        rank_.load(std::memory_order_relaxed), call_.load(std::memory_order_relaxed)));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Source* source : sources_) {
    Source::State seen;
    try {
      seen = source->Look();
    } catch (const std::exception& error) {
      seen.error = error.what();
    }
    state.moves += seen.finished;
    if (!seen.open.empty()) state.waits_for.push_back(std::move(seen.open));
    if (state.error.empty()) state.error = std::move(seen.error);
  }
  return state;
}

}  // namespace fttrain

#include "runtime/process/last_words.h"

#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace fttrain {
namespace {

constexpr std::chrono::seconds kPatience{3};

// Whoever ends the process knows nothing of the run: an uncaught exception has no arguments.
std::mutex g_mutex;
LastWords g_words;
std::atomic<bool>* g_said = nullptr;

}  // namespace

void SetLastWords(LastWords words) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  g_words = std::move(words);
}

void TellLastWordsTo(std::atomic<bool>* said) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  g_said = said;
}

void SayLastWords(int exit_code, const std::string& message) noexcept {
  const std::lock_guard<std::mutex> lock(g_mutex);
  if (g_said != nullptr) *g_said = true;
  const LastWords words = std::exchange(g_words, nullptr);
  if (words == nullptr) return;
  const auto say = [words, exit_code, message] {
    try {
      words(exit_code, message);
    } catch (...) {  // the process ends either way
    }
  };
  // On a thread of its own: a disk that does not answer keeps that one, not the end.
  try {
    const auto said = std::make_shared<std::promise<void>>();
    const std::future<void> end = said->get_future();
    std::thread([said, say] {
      say();
      said->set_value();
    }).detach();
    end.wait_for(kPatience);
  } catch (...) {  // there may be no more threads
    say();
  }
}

}  // namespace fttrain

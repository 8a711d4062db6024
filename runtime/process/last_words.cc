#include "runtime/process/last_words.h"

#include <mutex>
#include <utility>

namespace fttrain {
namespace {

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
  try {
    words(exit_code, message);
  } catch (...) {  // the process ends either way
  }
}

}  // namespace fttrain

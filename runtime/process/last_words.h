// What a process that must end at once leaves behind: it cannot agree with others any more.
#pragma once

#include <atomic>
#include <functional>
#include <string>

namespace fttrain {

using LastWords = std::function<void(int exit_code, const std::string& message)>;

// Called once, for the thread that ends this process: that of an uncaught exception or a
// watchdog's, never a signal's handler. It may write files, not call MPI. Null: nothing is left.
// Waits for words that are being said, as SayLastWords does, so that what they use may be destroyed
// afterwards. Any thread.
void SetLastWords(LastWords words);

// Where others can read (board.h) that this process has said why it ends; null: nowhere. Any
// thread.
void TellLastWordsTo(std::atomic<bool>* said);

// Says them, the first time, and waits for that, 3 s at most; whatever they throw is lost. The
// process must end afterwards. Any thread.
void SayLastWords(int exit_code, const std::string& message) noexcept;

}  // namespace fttrain

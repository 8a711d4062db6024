// One readable line per event. Rank 0 speaks; other ranks only with errors. Not thread-hot: a step
// logs once. Every message leaves in one write, so lines of several ranks do not mix.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fttrain {

// Says who speaks, and silences Info off rank 0. Process::Create calls it; without, the process is
// rank 0 of 1. Call before other threads log.
void SetLogRank(int rank, int world_size, std::string_view host);

// stdout, rank 0 only; as given, plus a line end.
void LogInfo(std::string_view message);

// LogInfo writes to stderr from now on: stdout is for what a program reads.
void SendInfoToStderr();

// stderr, any rank: "fttrain: error: [rank 1/2 host] message", without the bracket in a world of
// one. One line whatever the message holds: control characters are escaped.
void LogError(std::string_view message);

// stderr: "fttrain: error[CODE]: message", one line. For a fault that all ranks have agreed on,
// told by one of them; `code` is the exit code. The message names a rank where one matters.
void LogAgreedError(int code, std::string_view message);

// Control characters and bytes that are no UTF-8 escaped, and cut to `bytes`, at least 3 (of the
// escaped text, never inside a UTF-8 character): for names and text that come from files.
std::string Printable(std::string_view text, size_t bytes = 200);

}  // namespace fttrain

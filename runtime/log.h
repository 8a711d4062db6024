// One readable line per event. Rank 0 speaks; other ranks only with errors. Not thread-hot: a step logs once.
#pragma once

#include <string>
#include <string_view>

namespace fttrain {

// Sets what every message is prefixed with on errors ("[rank 1/2 host]"), and silences Info off rank 0.
void SetLogRank(int rank, int world_size, std::string_view host);

void LogInfo(std::string_view message);   // stdout, rank 0 only
void LogError(std::string_view message);  // stderr, any rank, one line

// Control characters escaped and cut to 200 bytes: for names and text that come from files.
std::string Printable(std::string_view text);

}  // namespace fttrain

// What one rank holds and needs at most, by category: as a run has measured it, or as a rehearsal
// (rehearsal.h) foretells it.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/process.h"

namespace fttrain {

struct CategoryBytes {
  std::array<int64_t, static_cast<size_t>(MemoryCategory::kCount)> of = {};
  int64_t total = 0;  // of peaks, the peak of the sum
  bool operator==(const CategoryBytes&) const = default;
};

struct PlaceMemory {
  CategoryBytes held;  // before the first step
  CategoryBytes peak;  // of the steps
  bool operator==(const PlaceMemory&) const = default;
};

struct RankMemory {
  int rank = 0;
  PlaceMemory device;
  PlaceMemory host;  // beside the device (MemoryPlace::kHost)
  bool operator==(const RankMemory&) const = default;
};

// Of a rank that is about to take its first step: what it holds, with peaks counted from here on.
RankMemory BeginMemory(int rank);
// With the peaks until now.
RankMemory WithPeaks(RankMemory memory);

// On one line, for people who look for what differs.
std::string ToString(const RankMemory& memory);
// {"rank": R, "held": {"weights": N, ...}, "peak": {...}, "tracked_peak": N, "host": {"held": ...,
// "peak": ..., "tracked_peak": N}}, all in bytes.
nlohmann::ordered_json ToJson(const RankMemory& memory);
// FOLDER/memory.json: {"ranks": [...]} of what all ranks measured. Agrees on errors, as
// WriteFileAtomically's. Collective over the world.
absl::Status WriteMemory(const RankMemory& memory, const std::string& folder,
                         const Process& process);

}  // namespace fttrain

// The names in OUT/checkpoints.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "runtime/files/sha256.h"

namespace fttrain {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kCommitName = "COMMIT";
inline constexpr const char* kLatestName = "LATEST";
inline constexpr const char *kStepPrefix = "step-", *kTmpPrefix = ".tmp-",
                            *kTrashPrefix = ".trash-";

// As sha256sum writes it, which then checks it: `sha256sum -c COMMIT`.
inline std::string CommitText(std::string_view manifest_text) {
  return absl::StrCat(Sha256Hex(manifest_text), "  ", kManifestName, "\n");
}

inline std::string StepName(int64_t step) { return absl::StrCat(kStepPrefix, step); }

// N of "step-N"; nothing for what StepName does not write.
inline std::optional<int64_t> StepOf(std::string_view name) {
  int64_t step = 0;
  if (!name.starts_with(kStepPrefix) || name.size() > 23) return std::nullopt;
  for (const char digit : name.substr(std::string_view(kStepPrefix).size())) {
    if (digit < '0' || digit > '9') return std::nullopt;
    step = step * 10 + (digit - '0');
  }
  return name == StepName(step) ? std::optional<int64_t>(step) : std::nullopt;
}

// What an attempt or a removal left that did not come to its end.
inline bool IsLeftover(std::string_view name) {
  return name.starts_with(kTmpPrefix) || name.starts_with(kTrashPrefix);
}

}  // namespace fttrain

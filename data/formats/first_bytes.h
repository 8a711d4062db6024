// Files that hold no JSON, known by their first bytes or the end of their name.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fttrain {

// How many bytes of a file are looked at.
inline constexpr size_t kFirstBytes = 512;

// InvalidArgument "PATH: what it is and what to do" for what is known to be something else: tables
// (Parquet, Arrow, CSV), other compressions, UTF-16, pages. `head`: the first bytes, unpacked.
absl::Status CheckFirstBytes(const std::string& path, std::string_view head);

}  // namespace fttrain

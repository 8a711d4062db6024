// What a file of rows is, and what it is not: known by its first bytes or the end of its name.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fttrain {

// How many bytes of a file are looked at.
inline constexpr size_t kFirstBytes = 512;

enum class FileKind { kJson, kCommas, kTabs, kParquet };

// InvalidArgument "PATH: what it is and what to do" for what is known to be something else: other
// tables (Arrow, ORC, spreadsheets), other compressions, UTF-16, pages. `head`: the first bytes,
// unpacked where the file `is_packed`.
absl::StatusOr<FileKind> KindOf(const std::string& path, std::string_view head, bool is_packed);

}  // namespace fttrain

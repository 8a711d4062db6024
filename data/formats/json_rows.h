// JSON files of rows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

class RowSource;

// One object a line; blank lines are skipped. Lines end in LF or CRLF; a leading BOM is skipped. A
// line of more than `max_row_bytes` is an error before it is held.
absl::StatusOr<std::unique_ptr<RowSource>> OpenJsonLines(const std::string& path,
                                                         int64_t max_row_bytes);
// An array of objects, in a file of at most 64 * max_row_bytes, which is read whole.
absl::StatusOr<std::unique_ptr<RowSource>> OpenJsonArray(const std::string& path,
                                                         int64_t max_row_bytes);

}  // namespace fttrain

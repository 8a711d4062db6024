// JSON files of rows. For row_source.cc, which knows what a file is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/formats/bytes.h"
#include "data/formats/row_source.h"

namespace fttrain {

// One object a line; blank lines are skipped. Lines end in LF or CRLF; a leading BOM is skipped.
std::unique_ptr<RowSource> OpenJsonLines(ByteReader in, const std::string& path,
                                         int64_t max_row_bytes);
// An array of objects. A row that is no JSON is one like any other if its brackets say where it
// ends; if not, it ends the source.
std::unique_ptr<RowSource> OpenJsonArray(ByteReader in, const std::string& path,
                                         int64_t max_row_bytes);
// The array of key `list` in the one object that the file is.
absl::StatusOr<std::unique_ptr<RowSource>> OpenWrappedArray(ByteReader in, const std::string& path,
                                                            int64_t max_row_bytes,
                                                            const std::string& list,
                                                            std::vector<std::string> beside);

}  // namespace fttrain

// Tables of separated values (RFC 4180) as rows. For row_source.cc, which knows what a file is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/formats/bytes.h"
#include "data/formats/row_source.h"

namespace fttrain {

// The first record names the columns; every other one is a row, an object of strings. A field may
// be quoted, with separators, line ends and doubled quotes in it; records end in LF or CRLF; a
// leading BOM and empty lines are skipped. "table.csv:12" is a row by the line where it begins. A
// record of another number of fields, one that is not UTF-8 and one with a quote inside a field are
// rows with a fault; a quote that is not closed, and text behind one that is, end the source:
// nothing tells where the next record begins. InvalidArgument for a header without a name for every
// column, or with one name twice.
absl::StatusOr<std::unique_ptr<RowSource>> OpenCsv(ByteReader in, const std::string& path,
                                                   int64_t max_row_bytes, char separator);

}  // namespace fttrain

// Parquet files as rows. For row_source.cc, which knows what a file is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/formats/row_source.h"

namespace fttrain {

// Rows as objects of the columns' values: strings and dictionaries of them, numbers, booleans,
// lists, structs and maps; nulls are null, and so are numbers that are none. A value of another
// type, such as a date, is an object that names its type. "table.parquet[12]" is a row.
// Arrow reads the files; it is in a library of its own, which is loaded with the first of them.
// FailedPrecondition where the program was built without it or the library cannot be loaded;
// InvalidArgument for a damaged file, also while it is read. Memory: a batch of rows of one row
// group.
absl::StatusOr<std::unique_ptr<RowSource>> OpenParquet(const std::string& path,
                                                       int64_t max_row_bytes);

}  // namespace fttrain

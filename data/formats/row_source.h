// Dataset files -> rows, not yet parsed. What a file is, is read off its first bytes, whatever its
// name: a Parquet table; a JSON array; an object that wraps one; else, where it is called .csv or
// .tsv, a table of separated values; else JSON Lines. Each but Parquet may be gzip.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

struct SourceRow {
  std::string text;    // a JSON value in a good file; readers of rows say so otherwise
  std::string where;   // "train.jsonl:1841" or "train.json[17]", for messages
  absl::Status fault;  // of a row that is longer than allowed; `text` is cut off then
  // Of a table: a row's lists may be JSON text, for the table's cells cannot hold them (cells.h).
  bool is_of_table = false;
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  // The next row; nullopt behind the last. An error says what ends the source before its time.
  virtual absl::StatusOr<std::optional<SourceRow>> Next() = 0;
  // Keys of an object beside the list of rows that it wraps.
  virtual std::vector<std::string> Beside() const { return {}; }
};

// `row_keys`: keys by which a row is known. A file that is one object has its rows in the one list
// of objects in it, unless it has one of these keys: then it is a row itself. InvalidArgument, with
// what to do, for a file of another kind (first_bytes.h), one with several such lists, one whose
// objects go over several lines; NotFound if there is none. Memory: a block and a row, which has at
// most `max_row_bytes`.
absl::StatusOr<std::unique_ptr<RowSource>> OpenRows(const std::string& path, int64_t max_row_bytes,
                                                    const std::vector<std::string>& row_keys);

}  // namespace fttrain

// Dataset files -> rows: one class for each kind of file, chosen by the file's name. Include in .cc
// files only (JSON is slow to compile).
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

struct SourceRow {
  nlohmann::json value;  // an object in a good file; readers of rows say so otherwise
  std::string where;     // "train.jsonl:1841" or "train.json[17]", for messages
  size_t bytes = 0;      // of its text, where that is read row by row
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  // The next row; nullopt behind the last. An error names the row's place, and ends the source.
  virtual absl::StatusOr<std::optional<SourceRow>> Next() = 0;
};

// The source for `path` by the ending of its name. `max_row_bytes` is DatasetOptions'.
// InvalidArgument for another ending or what is no regular file, NotFound if there is none.
absl::StatusOr<std::unique_ptr<RowSource>> OpenRows(const std::string& path, int64_t max_row_bytes);

}  // namespace fttrain

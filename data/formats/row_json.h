// JSON of rows: keys keep their order, which templates that write JSON show. Include in .cc files
// only (JSON is slow to compile).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace fttrain {

using RowJson = nlohmann::ordered_json;

inline constexpr size_t kMaxJsonDepth = 64;  // of lists and objects in each other

// InvalidArgument "WHERE: ..." for what is not UTF-8, not one JSON value, nested deeper, or
// would lose something: an object with a key that stands twice, an integer beyond 64 bits.
absl::StatusOr<RowJson> ParseRowJson(const std::string& text, const std::string& where);

// Nothing, as JSON and the tools that write tables of it (where every row has every column) say it:
// null, "", [], {}, these as JSON text, and an object of nothing else.
bool IsNothing(const RowJson& value);

// For messages: "array", "a number with a fraction".
std::string TypeOf(const RowJson& value);
// "'key'", printable.
std::string Quoted(absl::string_view key);

}  // namespace fttrain

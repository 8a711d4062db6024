#include "model/matmul/tensor_rows.h"

#include <c10/util/Exception.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace fttrain {

std::string NameOfRows(const TensorRows& rows) {
  return absl::StrCat(rows.tensor, "[", rows.begin, ":", rows.end, "/", rows.rows, "]");
}

std::optional<TensorRows> RowsOfName(std::string_view name) {
  const size_t open = name.rfind('[');
  if (open == std::string_view::npos || !name.ends_with(']')) return std::nullopt;
  TensorRows rows = {.tensor = std::string(name.substr(0, open))};
  const std::string_view range = name.substr(open + 1, name.size() - open - 2);
  const size_t colon = range.find(':'), slash = range.find('/');
  if (colon == std::string_view::npos || slash == std::string_view::npos || slash < colon) {
    return std::nullopt;
  }
  const auto number = [](std::string_view text, int64_t& value) {
    return absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &value);
  };
  const bool numbers = number(range.substr(0, colon), rows.begin) &&
                       number(range.substr(colon + 1, slash - colon - 1), rows.end) &&
                       number(range.substr(slash + 1), rows.rows);
  return numbers ? std::optional(rows) : std::nullopt;
}

ParamSlice SliceInFile(const ParamSlice& slice) {
  const std::optional<TensorRows> rows = RowsOfName(slice.name);
  if (!rows) return slice;
  TORCH_CHECK(slice.dim <= 0, slice.name, ": columns of some rows of a tensor");
  std::vector<int64_t> shape = slice.global_shape;
  shape.at(0) = rows->rows;
  const int64_t offset = rows->begin + (slice.dim == 0 ? slice.offset : 0);
  return SlicedParam(rows->tensor, std::move(shape), 0, offset, slice.LocalShape().at(0));
}

}  // namespace fttrain

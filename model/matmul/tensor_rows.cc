#include "model/matmul/tensor_rows.h"

#include <c10/util/Exception.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

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

std::string NameOfPart(const TensorPart& part) {
  return absl::StrCat(part.tensor, "[", absl::StrJoin(part.shape, "x"), "@", part.first, "+",
                      absl::StrJoin(part.strides, "+"), "]");
}

std::optional<TensorPart> PartOfName(std::string_view name) {
  const size_t open = name.rfind('[');
  if (open == std::string_view::npos || !name.ends_with(']')) return std::nullopt;
  TensorPart part = {.tensor = std::string(name.substr(0, open)), .shape = {}, .strides = {}};
  const std::string inside(name.substr(open + 1, name.size() - open - 2));
  const std::vector<std::string> halves = absl::StrSplit(inside, '@');
  if (halves.size() != 2) return std::nullopt;
  const auto numbers = [](const std::string& text, char between, std::vector<int64_t>& out) {
    for (const absl::string_view each : absl::StrSplit(text, between)) {
      if (!absl::SimpleAtoi(each, &out.emplace_back())) return false;
    }
    return true;
  };
  std::vector<int64_t> places;
  if (!numbers(halves[0], 'x', part.shape) || !numbers(halves[1], '+', places)) return std::nullopt;
  part.first = places.front();
  part.strides.assign(places.begin() + 1, places.end());
  return part;
}

TensorPart PartOfSlice(TensorPart part, const ParamSlice& slice) {
  TORCH_CHECK(part.strides.size() == slice.global_shape.size(), slice.name, ": ",
              slice.global_shape.size(), " dimensions");
  if (slice.dim >= 0) part.first += slice.offset * part.strides[static_cast<size_t>(slice.dim)];
  return part;
}

std::string TensorOfName(std::string_view name) {
  if (const auto rows = RowsOfName(name)) return rows->tensor;
  if (const auto part = PartOfName(name)) return part->tensor;
  return std::string(name);
}

}  // namespace fttrain

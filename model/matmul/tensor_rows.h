// Parameters that are some rows of a tensor that files know as one: parts of a fused projection and
// of its adapter's second factor. Their names say so, and where.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "parallel/layout/param.h"

namespace fttrain {

// Rows [begin, end) of `tensor`, which has `rows`.
struct TensorRows {
  std::string tensor;
  int64_t begin = 0, end = 0, rows = 0;
};
// "TENSOR[begin:end/rows]".
std::string NameOfRows(const TensorRows& rows);
// The parts of such a name; nothing for any other.
std::optional<TensorRows> RowsOfName(std::string_view name);

// A parameter's slice as one of the file's tensor: of rows, rows of that one. Throws c10::Error for
// columns of some rows.
ParamSlice SliceInFile(const ParamSlice& slice);

}  // namespace fttrain

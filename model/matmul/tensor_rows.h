// Parameters that are a part of a tensor that files know as one: rows, as of a fused projection and
// of its adapter's second factor, or elements at regular distances, as of one of several experts.
// Their names say so, and where.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

// Of `tensor`, of shape `shape`, row-major, the elements at first + sum of index * stride, for each
// dimension of the parameter a stride.
struct TensorPart {
  std::string tensor;
  std::vector<int64_t> shape;
  int64_t first = 0;
  std::vector<int64_t> strides;
};
// "TENSOR[4x64x96@6145+2+96]": shape, first, strides. No slice of it is one of rows: SliceInFile
// leaves it as it is.
std::string NameOfPart(const TensorPart& part);
// The parts of such a name; nothing for any other.
std::optional<TensorPart> PartOfName(std::string_view name);
// Where a slice of such a parameter lies; its extents are slice.LocalShape().
TensorPart PartOfSlice(TensorPart part, const ParamSlice& slice);
// The tensor that a parameter is or belongs to.
std::string TensorOfName(std::string_view name);

}  // namespace fttrain

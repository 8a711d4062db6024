// One row of a dataset file, whatever its format, to examples. For dataset.cc.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/formats/dataset.h"
#include "data/formats/row.h"
#include "data/formats/row_source.h"

namespace fttrain {

// InvalidArgument "ROW.WHERE: key and reason". `format` is not kAuto.
absl::StatusOr<std::vector<Example>> ReadRow(const SourceRow& row, RowFormat format,
                                             const RowContext& context);

// What is wrong with a row that is no object.
absl::Status NoObject(const RowObject& row);

}  // namespace fttrain

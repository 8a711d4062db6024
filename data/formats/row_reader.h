// One row of a dataset file, whatever its format, to an example. For dataset.cc.
#pragma once

#include "absl/status/statusor.h"
#include "data/formats/dataset.h"
#include "data/formats/row_source.h"

namespace fttrain {

// InvalidArgument "ROW.WHERE: key and reason".
absl::StatusOr<Example> ReadRow(const SourceRow& row, RowFormat format,
                                const DatasetOptions& options);

}  // namespace fttrain

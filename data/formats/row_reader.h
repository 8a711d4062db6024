// One row of a dataset file, whatever its format, to an example. For dataset.cc.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "data/formats/dataset.h"

namespace fttrain {

// `format` as in DatasetSpec. InvalidArgument "SOURCE: key and reason".
absl::StatusOr<Example> ReadRow(const nlohmann::json& row, const std::string& format,
                                const DatasetOptions& options, const std::string& source);

}  // namespace fttrain

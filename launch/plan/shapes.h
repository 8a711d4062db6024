// Sizes of common models, so that a run can be planned without a folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/spec.h"

namespace fttrain {

struct ModelShape {
  std::string name;  // "llama-3.1-70b"
  std::string config_json;
};

// The shape that a name means, however it is written: of "meta-llama/Meta-Llama-3.1-70B-Instruct"
// case, dots, dashes, the organisation and words such as Instruct do not count. NotFound with the
// nearest name and all of them. What no plan asks for (rotary scaling, token ids) is not in it.
absl::StatusOr<ModelShape> FindShape(std::string_view name);

// All names, the smallest of a family first.
std::vector<std::string> ShapeNames();

// The model of a shape, read as any config.json is.
absl::StatusOr<ModelSpec> ModelOfShape(const ModelShape& shape);

}  // namespace fttrain

// The model of a plan, which needs its sizes alone.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "model/config/spec.h"

namespace fttrain {

struct PlannedModel {
  std::string path;  // the folder, or the name of the shape
  ModelSpec spec;
  bool from_table = false;  // no folder was read
};

// Of a folder or a name in the hub's cache, as FindModelFolder and ReadModel; where there is no
// such folder, of the shape that the name means (launch/plan/shapes.h). Errors as theirs; NotFound
// where it is neither.
absl::StatusOr<PlannedModel> ModelToPlan(const std::string& name);

}  // namespace fttrain

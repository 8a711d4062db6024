#include "launch/run/planned_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "launch/plan/paths.h"
#include "launch/plan/shapes.h"
#include "launch/run/network.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::StatusOr<PlannedModel> ModelToPlan(const std::string& name) {
  PlannedModel model;
  const absl::StatusOr<std::string> folder = FindModelFolder(name, "model.path", HubCacheRoots());
  if (folder.ok()) {
    model.path = *folder;
    FT_ASSIGN_OR_RETURN(model.spec, ReadModel(*folder));
    return model;
  }
  if (!absl::IsNotFound(folder.status())) return folder.status();
  const absl::StatusOr<ModelShape> shape = FindShape(name);
  if (!shape.ok()) {
    return absl::NotFoundError(absl::StrCat("model.path ", Printable(name),
                                            ": no such folder, and ", shape.status().message()));
  }
  model.path = shape->name;
  model.from_table = true;
  FT_ASSIGN_OR_RETURN(model.spec, ModelOfShape(*shape));
  return model;
}

}  // namespace fttrain

// What users ask of a model, checked before anything is built: tensor-parallel sizes and adapter
// targets.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/spec.h"

namespace fttrain {

// InvalidArgument with the arithmetic and the tensor sizes that would work when tp does not fit:
// heads % tp, kv_heads % tp and tp % kv_heads, intermediate size % tp.
absl::Status CheckTensorParallel(const ModelSpec& model, int tp);

// The modules of `targets` ("all-linear", or leaf names such as q_proj) as leaf names that the
// model's layers have, in their order, each once. InvalidArgument for names that match nothing or
// cannot be adapted here (embedding and head).
absl::StatusOr<std::vector<std::string>> ResolveTargetModules(
    const ModelSpec& model, const std::vector<std::string>& targets);

}  // namespace fttrain

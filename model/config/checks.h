// What users ask of a model, checked before anything is built: how ranks may divide it.
#pragma once

#include "absl/status/status.h"
#include "model/config/spec.h"

namespace fttrain {

// InvalidArgument with the arithmetic and the tensor sizes that would work when tp does not fit:
// heads % tp, kv_heads % tp and tp % kv_heads, intermediate size % tp (of experts too).
absl::Status CheckTensorParallel(const ModelSpec& model, int tp);
// The same where ep ranks, more than one, do not divide the experts of each layer: there are none,
// or their number % ep.
absl::Status CheckExpertParallel(const ModelSpec& model, int ep);

}  // namespace fttrain
